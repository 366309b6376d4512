//! Classifies what comes on a Pub/Sub subscription:
//! `cargo run --release --example pubsub_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::pipeline::{Pipeline, PipelineConfig};
use fmnist_examples::{Console, ConsumerArguments, finish, observe, prepare_consumer};
use frontend_actix::{BrokerKind, Traces, log_from_env, shutdown_signal};
use transport_pubsub::PubSubTransport;

const EXAMPLES: &str = "Examples:
  cargo run --release --example pubsub_consumer -- --config config.json
  cargo run --release --example pubsub_consumer -- --config config.json --print-config
  cargo run --release --example pubsub_consumer -- --check --create --ack-deadline 120
  PUBSUB_EMULATOR_HOST=127.0.0.1:8085 PUBSUB_PROJECT_ID=demo \\
      cargo run --release --example pubsub_consumer -- --create

A variable FMNIST_SECTION__KEY beats the file; config.example.json has every key with its default.";

/// Classifies what comes on a Pub/Sub subscription
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    consumer: ConsumerArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    log_from_env();
    finish(consume(Arguments::parse().consumer).await)
}

async fn consume(arguments: ConsumerArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let config = arguments.config.read()?;
    // The model comes first: nothing is received before it can answer.
    let Some(prepared) = prepare_consumer(&config, &arguments, BrokerKind::PubSub).await? else {
        return Ok(());
    };
    let (pulse, probes) = observe(&config)?;
    let traces = Traces::from_env();
    let transport = PubSubTransport::connect_within(&config.pubsub, &config.batch).await?;
    let transport = transport.with_pulse(&pulse);
    probes.ready();
    let subscription = config.pubsub.subscription_name(&config.pubsub.subscription_id);
    println!("Listening for messages on {subscription}..\n");
    println!("starting stream...");

    let settings =
        PipelineConfig { record_only: config.pubsub.results_topic.is_none(), ..config.pipeline() };
    let ended = Pipeline::new(transport, prepared.model, prepared.test_set.images, settings)
        .with_sink((prepared.database, Console::new(prepared.is_synthetic)))
        .with_pulse(pulse)
        .run(async {
            shutdown.await;
            probes.draining();
        })
        .await;
    probes.stop().await;
    traces.stop().await;
    println!("ending stream...");
    let report = ended?;
    eprintln!("{} images in {} batches; {:?}", report.images, report.batches, report.settlement);
    Ok(())
}
