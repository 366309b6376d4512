//! Classifies what comes on a Kafka topic:
//! `cargo run --release --example kafka_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::pipeline::{Pipeline, PipelineConfig};
use fmnist_examples::{Backfill, Console, ConsumerArguments, finish, observe, prepare};
use frontend_actix::{Config, log_from_env, shutdown_signal};
use transport_kafka::KafkaTransport;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    consumer: ConsumerArguments,
    #[command(flatten)]
    backfill: Backfill,
}

#[tokio::main]
async fn main() -> ExitCode {
    log_from_env();
    finish(consume(Arguments::parse()).await)
}

async fn consume(arguments: Arguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let mut config = Config::from_env(arguments.consumer.config.as_deref())?;
    let (pulse, probes) = observe(&config)?;
    // The model comes first: nothing is received before it can answer.
    let prepared = prepare(&config).await?;
    let end = arguments.backfill.prepare(&mut config.kafka).await?;
    let transport = KafkaTransport::connect_until(&config.kafka, end.spans()).await?;
    let transport = transport.with_pulse(&pulse);
    probes.ready();
    eprintln!("listening on topic {} at {}", config.kafka.topic, config.kafka.bootstrap_servers);

    let settings =
        PipelineConfig { record_only: config.kafka.results_topic().is_none(), ..config.pipeline() };
    let report = Pipeline::new(transport, prepared.model, prepared.test_set.images, settings)
        .with_sink(Console::new(prepared.is_synthetic))
        .with_pulse(pulse)
        .run(async {
            tokio::select! {
                () = shutdown => {}
                () = end.reached() => {}
            }
            probes.draining();
        })
        .await?;
    probes.stop().await;
    eprintln!("{} images in {} batches; {:?}", report.images, report.batches, report.settlement);
    Ok(())
}
