//! Classifies what comes on a Kafka topic:
//! `cargo run --release --example kafka_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::Supervisor;
use fmnist_examples::Answering;
use frontend_actix::Config;
use service::{Backfill, ConsumerArguments, Source, run_program, stderr};

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
    let Arguments { consumer, backfill } = arguments;
    let shutdown = consumer.shutdown_signal(backfill.has_end())?;
    let config: Config = consumer.config.read()?;
    let kafka = &config.kafka;
    let Some(mut answering) = Answering::prepare(&config, &consumer, kafka, &parts).await? else {
        return Ok(());
    };
    let source = backfill.source(kafka.clone());
    let group = source.group().to_owned();
    let (transport, end) = source.connect(answering.pulse()).await?;
    stderr()
        .line(format_args!("listening on topic {} at {}", kafka.topic, kafka.bootstrap_servers));
    // What is read again is a run of its own, named as its group, unless the configuration names one.
    if backfill.is_again() && config.database.run.is_empty() {
        answering.database = answering.database.map(|database| database.with_run(group.clone()));
    }
    backfill.conclude(&group, answering.answer(transport, end, shutdown).await?)
}
