use std::{io, sync::Arc, time::Duration};

use clap::Parser;
use fmnist_core::{
    Classifier, Supervisor,
    dataset::{Dataset, Origin},
    message::Requests,
    pipeline::{PipelineReport, Pulse},
};
use frontend_actix::{
    BrokerKind, Config, ConfigArguments, INTERRUPTED, Probes, Role, Survey, SurveyArguments,
    shutdown_signal_or, stderr, stdout,
};
use sink_sql::Database;

/// The arguments of the two consumers.
#[derive(Debug, Parser)]
pub struct ConsumerArguments {
    /// What to read.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// What to look for.
    #[command(flatten)]
    pub survey: SurveyArguments,
}

impl ConsumerArguments {
    /// Listens for signals, which end the program at once as long as it has received nothing; with an
    /// error where it was asked something, or has an end to come to.
    ///
    /// # Errors
    /// When the operating system does not let this process listen.
    pub fn shutdown_signal(
        &self,
        has_end: bool,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let asks = self.survey.check || self.survey.create;
        shutdown_signal_or(if asks || has_end { INTERRUPTED } else { 0 })
    }
}

/// What is ready before anything is received.
pub struct Prepared {
    /// The model, loaded and checked.
    pub model: Arc<Classifier>,
    /// The test set, which ranges index. The training set is not needed and not read.
    pub test_set: Dataset,
    /// The test set was drawn by the library.
    pub is_synthetic: bool,
    /// The database of results, where one is configured; it may be away for now.
    pub database: Option<Database>,
}

impl Prepared {
    /// The messages that are answered, and the form of their results.
    pub fn requests(&self, config: &Config) -> Requests {
        let test_images = Arc::clone(&self.test_set.images);
        Requests::new(&self.model, test_images).with_results(config.results.clone())
    }
}

/// Prints the effective configuration, then loads the model and the test set.
///
/// # Errors
/// When there is no such model, or the data set is damaged.
pub async fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    stderr().line(format_args!("configuration: {}", config.shown()));
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey, false).await;
    survey.conclude()?;
    Ok(loaded.expect("a complete survey has everything"))
}

/// As [`prepare`], and looks for what the consumer needs on its broker; `None` if the arguments ask
/// for no more than to see that.
///
/// # Errors
/// With everything that is missing, and how to make it.
pub async fn prepare_consumer(
    config: &Config,
    arguments: &ConsumerArguments,
    broker: BrokerKind,
) -> anyhow::Result<Option<Prepared>> {
    if arguments.config.print(config) {
        return Ok(None);
    }
    stderr().line(format_args!("configuration: {}", config.shown()));
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey, arguments.survey.check).await;
    match broker {
        BrokerKind::Kafka => survey.kafka(&config.kafka, Role::Consumer, &arguments.survey).await,
        BrokerKind::PubSub => {
            survey.pubsub(&config.pubsub, Role::Consumer, &arguments.survey).await
        }
    }
    let found = survey.conclude()?;
    if arguments.survey.check {
        found.iter().for_each(|line| stdout().line(line));
        return Ok(None);
    }
    Ok(loaded)
}

/// With a database that is away, unless that is what is asked.
async fn load(config: &Config, survey: &mut Survey, is_check: bool) -> Option<Prepared> {
    let test_set = survey.test_set(config.data.path.as_deref());
    let model = survey.model(&config.model).await;
    let database = match is_check {
        true => survey.database(&config.database).await,
        false => survey.database_or_outage(&config.database).await,
    };
    let (test_set, model) = (test_set?, Arc::new(model?));
    let is_synthetic = test_set.origin == Origin::Synthetic;
    if is_synthetic {
        stderr().line(format_args!(
            "Fashion-MNIST was not found: ranges are over {} synthetic images. \
             `cargo run --release -p training -- download` fetches the real ones.",
            test_set.images.len()
        ));
    }
    Some(Prepared { model, test_set, is_synthetic, database })
}

/// Asks a pipeline every ten seconds whether it gets on, so that a stall is in the log.
pub fn watch(pulse: &Pulse, parts: &Supervisor) {
    let (pulse, part) = (pulse.clone(), parts.part("task that looks for stalls"));
    tokio::spawn(async move {
        let _part = part;
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            ticks.tick().await;
            pulse.vitals();
        }
    });
}

/// The pulse of a consumer's pipeline over this transport, watched and measured from now on, and its
/// probes, where there is a port for them.
///
/// # Errors
/// When the port is taken.
pub fn observe(
    config: &Config,
    transport: &str,
    parts: &Supervisor,
) -> anyhow::Result<(Pulse, Probes)> {
    let pulse = Pulse::default();
    watch(&pulse, parts);
    let probes = Probes::start(&config.server, &pulse, parts)?;
    pulse.measure(transport);
    if let Some(address) = probes.address() {
        stderr().line(format_args!("probes and metrics on http://{address}"));
    }
    Ok((pulse, probes))
}

/// Waits for a database that is away, before anything is received: red at `/readyz`, and in the log.
///
/// # Errors
/// What does not mend itself.
pub async fn wait_for(
    database: Option<Database>,
    pulse: &Pulse,
    probes: &Probes,
) -> anyhow::Result<Option<Database>> {
    let Some(database) = database else { return Ok(None) };
    probes.waits_for(&format!("database {}", database.url()));
    let database = database.with_pulse(pulse);
    database.wait().await?;
    Ok(Some(database))
}

/// Whether all that was in flight when the program was asked to stop came to its end.
///
/// # Errors
/// With what did not, and what becomes of it.
pub fn ended(report: &PipelineReport) -> anyhow::Result<()> {
    let PipelineReport { inputs: images, batches, settlement, unfinished } = report;
    stderr().line(format_args!("{images} images in {batches} batches; {settlement:?}"));
    anyhow::ensure!(
        *unfinished == 0,
        "stopped before {unfinished} messages came to their end; they are delivered again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_finished_is_an_error_that_says_what_becomes_of_it() {
        ended(&PipelineReport::default()).expect("all is finished");
        let report = PipelineReport { unfinished: 3, ..PipelineReport::default() };
        let error = ended(&report).expect_err("unfinished").to_string();
        assert!(error.contains("3 messages") && error.contains("delivered again"), "{error}");
    }
}
