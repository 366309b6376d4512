use fmnist_core::{
    ClassifierSlot, Supervisor,
    message::Requests,
    pipeline::{Pipeline, PipelineConfig, Pulse},
    transport::Transport,
};
use frontend_actix::{Config, operate};
use service::{Broker, Consumer, ConsumerArguments, ended};
use sink_sql::Database;

use crate::{Console, Prepared, prepare_consumer};

/// A consumer of Fashion-MNIST's requests that is ready to receive, over whatever transport.
pub struct Answering {
    consumer: Consumer,
    model: ClassifierSlot,
    requests: Requests,
    settings: PipelineConfig,
    /// Where results are kept.
    pub database: Option<Database>,
    is_synthetic: bool,
}

impl Answering {
    /// Looks for all that the consumer needs, of the broker, too, loads the model and waits for a database
    /// that is away. `None` if the arguments ask for no more than to see what there is.
    ///
    /// # Errors
    /// With everything that is missing, and how to make it.
    pub async fn prepare(
        config: &Config,
        arguments: &ConsumerArguments,
        broker: &dyn Broker,
        parts: &Supervisor,
    ) -> anyhow::Result<Option<Self>> {
        // The model comes first: nothing is received before it can answer.
        let Some(prepared) = prepare_consumer(config, arguments, broker).await? else {
            return Ok(None);
        };
        let consumer = Consumer::start(&config.server.probes(), broker.name(), parts)?;
        let requests = prepared.requests(config);
        let Prepared { model, test_set, is_synthetic, database } = prepared;
        let (model, control) = operate(&config.model, model, &test_set, parts).await?;
        consumer.probes().shows(control);
        let database = wait_for(database, &consumer).await?;
        let record_only = broker.results_topic().is_none();
        let settings = PipelineConfig { record_only, ..config.pipeline() };
        Ok(Some(Self { consumer, model, requests, settings, database, is_synthetic }))
    }

    /// For the transport, which tells by it what it waits for.
    pub fn pulse(&self) -> Pulse {
        self.consumer.pulse().clone()
    }

    /// Answers what comes over the transport until `end` or `shutdown`, and returns whether it was the end.
    ///
    /// # Errors
    /// What the pipeline ended with, and what it left unfinished.
    pub async fn answer(
        self,
        transport: impl Transport,
        end: impl Future<Output = ()> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<bool> {
        let Self { consumer, model, requests, settings, database, is_synthetic } = self;
        let is_record = settings.record_only && database.is_none();
        let console = Console::from_env(is_synthetic).as_record(is_record);
        let pipeline =
            Pipeline::new(transport, model, requests, settings).with_sink((database, console));
        let (report, is_reached) = consumer.run(pipeline, end, shutdown).await?;
        ended(&report)?;
        Ok(is_reached)
    }
}

/// Waits for a database that is away, before anything is received: red at `/readyz`, and in the log.
async fn wait_for(
    database: Option<Database>,
    consumer: &Consumer,
) -> anyhow::Result<Option<Database>> {
    let Some(database) = database else { return Ok(None) };
    consumer.probes().waits_for(&format!("database {}", database.url()));
    let database = database.with_pulse(consumer.pulse());
    database.wait().await?;
    Ok(Some(database))
}
