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
use fmnist_examples::{Backlog, Bounded, Console, Prepared, prepare};
use frontend_actix::{
    Broker, BrokerKind, Config, Frontend, has_pubsub, kafka_broker, pubsub_broker,
};
use jiff::Timestamp;
use pubsub_fake::FakePubSub;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use service::{
    ConfigArguments, Metrics, Traces, ended, run_program, shutdown_signal, stderr, watch,
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
};
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaTransport};
use transport_pubsub::{Emulator, PubSubConfig, PubSubError, PubSubTransport};

const PARTITIONS: i32 = 4;
/// The mock drops the oldest messages of a partition above 5 MB.
const TOY_LIMIT_BYTES: usize = 4_000_000;
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
    // It runs as long as this function.
    let toy_pubsub = match arguments.kafka.is_none() && !has_pubsub(&config) {
        true => Some(start_pubsub(&mut config.pubsub).await?),
        false => None,
    };
    if has_pubsub(&config) && config.pubsub.project_id.is_empty() {
        config.pubsub.project_id = "demo".to_owned();
    }
    let toy = start_kafka(&mut config.kafka, arguments.kafka.is_some()).await?;
    let mut prepared = prepare(&config).await?;
    if toy.is_some() || toy_pubsub.is_some() {
        // A toy numbers its messages from 0 again.
        let run = format!("demo {}", Timestamp::now());
        prepared.database = prepared.database.map(|database| database.with_run(run));
    }
    // Requests and both streams share batches.
    let metrics = Metrics::install(&parts)?;
    let (slot, control) = prepared.operate(&config, &parts).await?;
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
    let broker = match &toy {
        Some(_) => toy_broker(&config.kafka, results.subscribe(), &parts).await?,
        None => kafka_broker(&config.kafka).await?,
    };
    let (kafka_pulse, pubsub_pulse) = (Pulse::default(), Pulse::default());
    frontend = frontend.with_broker(broker).with_pulse(kafka_pulse.clone());
    let pubsub = match has_pubsub(&config) {
        true => connect_pubsub(&config).await?,
        false => None,
    };
    if let Some((broker, _)) = &pubsub {
        frontend = frontend.with_broker(broker.clone()).with_pulse(pubsub_pulse.clone());
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

/// Starts the toy, or finds the real cluster and creates the topics it lacks.
async fn start_kafka(
    config: &mut KafkaConfig,
    is_real: bool,
) -> anyhow::Result<Option<MockCluster<'static, DefaultProducerContext>>> {
    if is_real {
        transport_kafka::create_missing(config, PARTITIONS).await?;
        return Ok(None);
    }
    let toy = MockCluster::new(1).context("the in-process Kafka does not start")?;
    for topic in config.topics() {
        toy.create_topic(topic, PARTITIONS, 1)?;
    }
    config.bootstrap_servers = toy.bootstrap_servers();
    stderr().line(format_args!(
        "Kafka is a toy inside this process (librdkafka's mock at {}): it keeps 5 MB a partition, \
         in memory, and is gone with the demo. --kafka HOST:PORT takes a real one.",
        config.bootstrap_servers
    ));
    Ok(Some(toy))
}

async fn start_pubsub(config: &mut PubSubConfig) -> anyhow::Result<FakePubSub> {
    let toy = FakePubSub::start().await.context("the in-process Pub/Sub does not start")?;
    let emulator = Emulator::from(toy.address());
    stderr().line(format_args!(
        "Pub/Sub is a toy inside this process, at {}: it keeps 64 MB, in memory, and is gone with the \
         demo. PUBSUB_EMULATOR_HOST takes an emulator.",
        emulator.endpoint()
    ));
    config.emulator = Some(emulator);
    Ok(toy)
}

/// The toy's publisher, which says 503 before the toy would lose messages.
async fn toy_broker(
    config: &KafkaConfig,
    mut results: broadcast::Receiver<Arc<ResultRecord>>,
    parts: &Supervisor,
) -> anyhow::Result<Broker> {
    let backlog = Backlog::new(TOY_LIMIT_BYTES);
    let publisher = Bounded::new(KafkaPublisher::connect(config).await?, Arc::clone(&backlog));
    let part = parts.part("task that counts the toy's backlog");
    tokio::spawn(async move {
        let _part = part;
        use broadcast::error::RecvError;
        loop {
            match results.recv().await {
                Ok(result) => backlog.settle(&result),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(Broker::new(BrokerKind::Kafka, publisher))
}

/// Connects both ends. The emulator was asked for, so its trouble ends the demo; a project may just
/// be set on this machine, so its trouble leaves Pub/Sub out.
async fn connect_pubsub(config: &Config) -> anyhow::Result<Option<(Broker, PubSubTransport)>> {
    let Config { pubsub: config, batch, .. } = config;
    if config.emulator.is_some() {
        transport_pubsub::create_missing(config).await?;
    }
    let connected = async {
        let broker = pubsub_broker(config).await?;
        Ok::<_, PubSubError>((broker, PubSubTransport::connect_within(config, batch).await?))
    };
    match connected.await {
        Ok(connected) => Ok(Some(connected)),
        Err(error) if config.emulator.is_none() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "Pub/Sub is left out");
            Ok(None)
        }
        Err(error) => Err(error.into()),
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
