//! Classifies what comes on a Kafka topic:
//! `cargo run --release --example kafka_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::{
    Supervisor,
    pipeline::{Pipeline, PipelineConfig},
    transport::Transport,
};
use fmnist_examples::{Console, prepare_consumer, wait_for};
use frontend_actix::BrokerKind;
use service::{Backfill, Consumer, ConsumerArguments, run_program, stderr};
use transport_kafka::KafkaTransport;

const EXAMPLES: &str = "Examples:
  cargo run --release --example kafka_consumer -- --config config.json
  cargo run --release --example kafka_consumer -- --config config.json --print-config
  FMNIST_KAFKA__BOOTSTRAP_SERVERS=broker:9092 cargo run --release --example kafka_consumer -- --check
  cargo run --release --example kafka_consumer -- --create --partitions 12 --replication 3
  cargo run --release --example kafka_consumer -- --from time:2026-11-24T00:00:00Z --until-end

A variable FMNIST_SECTION__KEY beats the file; config.example.json has every key with its default.";

/// Classifies what comes on a Kafka topic
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    consumer: ConsumerArguments,
    #[command(flatten)]
    backfill: Backfill,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_program(|parts| consume(arguments, parts))
}

async fn consume(arguments: Arguments, parts: Supervisor) -> anyhow::Result<()> {
    let shutdown = arguments.consumer.shutdown_signal(arguments.backfill.has_end())?;
    let mut config = arguments.consumer.config.read()?;
    // The model comes first: nothing is received before it can answer.
    let Some(prepared) = prepare_consumer(&config, &arguments.consumer, BrokerKind::Kafka).await?
    else {
        return Ok(());
    };
    let consumer = Consumer::start(&config.server.probes(), KafkaTransport::NAME, &parts)?;
    let requests = prepared.requests(&config);
    let (model, control) = prepared.operate(&config, &parts).await?;
    consumer.probes().shows(control);
    let database = wait_for(prepared.database, &consumer).await?;
    let end = arguments.backfill.prepare(&mut config.kafka).await?;
    let transport = KafkaTransport::connect_until(&config.kafka, end.spans()).await?;
    let transport = transport.with_pulse(consumer.pulse());
    let servers = &config.kafka.bootstrap_servers;
    stderr().line(format_args!("listening on topic {} at {servers}", config.kafka.topic));

    // What is read again is a run of its own, named as its group, unless the configuration names one.
    let database = match arguments.backfill.is_again() && config.database.run.is_empty() {
        true => database.map(|database| database.with_run(config.kafka.group_id.clone())),
        false => database,
    };
    let record_only = config.kafka.results_topic().is_none();
    let settings = PipelineConfig { record_only, ..config.pipeline() };
    let is_record = record_only && database.is_none();
    let console = Console::from_env(prepared.is_synthetic).as_record(is_record);
    let pipeline =
        Pipeline::new(transport, model, requests, settings).with_sink((database, console));
    end.reached_by(consumer, pipeline, shutdown).await
}
