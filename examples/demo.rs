//! The whole system in one process: `cargo run --release --example demo`
//!
//! A Kafka and a Pub/Sub inside this process, consumers with their model, and the page. `--kafka
//! HOST:PORT` takes a real cluster, `PUBSUB_EMULATOR_HOST` or a Google Cloud project another Pub/Sub.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
use clap::Parser;
use fmnist_core::{
    Batcher, ClassifierSlot, Supervisor,
    message::{Requests, ResultRecord},
    pipeline::{Pipeline, PipelineConfig, Pulse},
    transport::Transport,
};
use fmnist_examples::{Console, Prepared, Toys, prepare};
use frontend_actix::{Config, Frontend, operate};
use jiff::Timestamp;
use service::{
    Broker, ConfigArguments, Metrics, Producer, Traces, ended, run_program, shutdown_signal,
    stderr, watch,
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
};
use transport_kafka::KafkaTransport;
use transport_pubsub::PubSubTransport;

const LIVE_RESULTS: usize = 1_024;

const EXAMPLES: &str = "Examples:
  cargo run --release --example demo
  cargo run --release --example demo -- --port 8080 --kafka broker:9092
  cargo run --release --example demo -- --config config.json --print-config
  PUBSUB_EMULATOR_HOST=127.0.0.1:8085 cargo run --release --example demo";

/// Page, broker and consumer in one process
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// A real Kafka cluster instead of the toys in this process
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The page's port
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    config: ConfigArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_program(|parts| demonstrate(arguments, parts))
}

async fn demonstrate(arguments: Arguments, parts: Supervisor) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let mut config: Config = arguments.config.read()?;
    if let Some(port) = arguments.port {
        config.server.port = port;
        config.origins.record("server.port", "--port");
    }
    if let Some(servers) = &arguments.kafka {
        config.kafka.bootstrap_servers.clone_from(servers);
        config.origins.record("kafka.bootstrap_servers", "--kafka");
    }
    if arguments.config.print(&config) {
        return Ok(());
    }
    let toys = Toys::start(&mut config, arguments.kafka.is_some()).await?;
    let mut prepared = prepare(&config).await?;
    if toys.is_any() {
        let run = format!("demo {}", Timestamp::now());
        prepared.database = prepared.database.map(|database| database.with_run(run));
    }
    // Requests and both streams share batches.
    let metrics = Metrics::install(&parts)?;
    let (slot, control) =
        operate(&config.model, prepared.model.clone(), &prepared.test_set, &parts).await?;
    let model = Arc::new(Batcher::new(slot, &config.batch));

    let traces = Traces::from_env();
    let (results, _) = broadcast::channel(LIVE_RESULTS);
    let mut frontend = Frontend::new(config.server.clone())
        .with_metrics(metrics)
        .with_model(model.clone())
        .with_control(control, config.model.repository.clone())
        .with_batch(&config.batch)
        .with_test_set(&prepared.test_set)
        .with_results(results.clone());
    if let Some(database) = &prepared.database {
        frontend = frontend.with_database(database.clone());
    }
    let kafka = toys.producer(&config.kafka, results.subscribe(), &parts).await?;
    let (kafka_pulse, pubsub_pulse) = (Pulse::default(), Pulse::default());
    frontend = frontend.with_broker(kafka).with_pulse(kafka_pulse.clone());
    let pubsub = connect_pubsub(&config).await?;
    if let Some((producer, _)) = &pubsub {
        frontend = frontend.with_broker(producer.clone()).with_pulse(pubsub_pulse.clone());
    }

    // The page comes first, because a busy port is the most likely trouble.
    let running = frontend.start(&parts)?;
    let (stop, stopping) = watch::channel(false);
    let (requests, settings) = (prepared.requests(&config), config.pipeline());
    let watched = parts.clone();
    let consumer =
        Consumer { model, prepared, requests, settings, results, stopping, parts: watched };
    let mut consumers = JoinSet::new();
    let transport = KafkaTransport::connect(&config.kafka).await?.with_pulse(&kafka_pulse);
    let record_only = config.kafka.results_topic().is_none();
    consumer.start(&mut consumers, transport, record_only, kafka_pulse);
    if let Some((_, transport)) = pubsub {
        let record_only = config.pubsub.results_topic.is_none();
        let transport = transport.with_pulse(&pubsub_pulse);
        consumer.start(&mut consumers, transport, record_only, pubsub_pulse);
    }
    stderr().line(format_args!(
        "\nOpen http://{address}, or try\n  \
         curl 'http://{address}/kafka/push-to-consumer?start_idx=0&end_idx=5'\n\
         Ctrl-C ends the demo.\n",
        address = running.address()
    ));

    let early = tokio::select! {
        () = shutdown => None,
        _ = parts.ended() => None,
        ended = consumers.join_next() => ended,
    };
    running.stop().await;
    stop.send_replace(true);
    let mut ended: Vec<_> = early.into_iter().collect();
    while let Some(end) = consumers.join_next().await {
        ended.push(end);
    }
    traces.stop().await;
    for end in ended {
        end.context("a consumer panicked")??;
    }
    Ok(())
}

/// Connects both ends, where there is one. The emulator was asked for, so its trouble ends the demo; a project
/// may just be set on this machine, so its trouble leaves Pub/Sub out.
async fn connect_pubsub(config: &Config) -> anyhow::Result<Option<(Producer, PubSubTransport)>> {
    let Config { pubsub: config, batch, .. } = config;
    if !config.is_configured() {
        return Ok(None);
    }
    if config.emulator.is_some() {
        transport_pubsub::create_missing(config).await?;
    }
    let connected = async {
        let producer = config.producer().await?;
        anyhow::Ok((producer, PubSubTransport::connect_within(config, batch).await?))
    };
    match connected.await {
        Ok(connected) => Ok(Some(connected)),
        Err(error) if config.emulator.is_none() => {
            tracing::warn!(error = &*error as &dyn std::error::Error, "Pub/Sub is left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What the consumers of the demo share.
struct Consumer {
    model: Arc<Batcher<ClassifierSlot>>,
    prepared: Prepared,
    requests: Requests,
    settings: PipelineConfig,
    results: broadcast::Sender<Arc<ResultRecord>>,
    stopping: watch::Receiver<bool>,
    parts: Supervisor,
}

impl Consumer {
    fn start(
        &self,
        consumers: &mut JoinSet<anyhow::Result<()>>,
        transport: impl Transport,
        record_only: bool,
        pulse: Pulse,
    ) {
        watch(&pulse, &self.parts);
        let settings = PipelineConfig { record_only, ..self.settings.clone() };
        let console = Console::from_env(self.prepared.is_synthetic);
        let database = self.prepared.database.clone().map(|found| found.with_pulse(&pulse));
        let pipeline =
            Pipeline::new(transport, Arc::clone(&self.model), self.requests.clone(), settings)
                .with_sink((database, console))
                .with_observer(self.results.clone())
                .with_pulse(pulse);
        let mut stopping = self.stopping.clone();
        let mut stopped = self.stopping.clone();
        consumers.spawn(async move {
            // An error means that the demo is gone, and then this is to stop, too.
            let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
            // A toy is gone with what it holds; a real broker delivers that again.
            if let Err(unfinished) = ended(&pipeline.run(stop).await?) {
                tracing::warn!("{unfinished}");
            }
            if !*stopped.borrow_and_update() {
                bail!("a consumer ended by itself");
            }
            Ok(())
        });
    }
}
