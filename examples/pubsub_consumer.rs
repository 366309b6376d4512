//! Classifies what comes on a Pub/Sub subscription:
//! `cargo run --release --example pubsub_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::pipeline::{Pipeline, PipelineConfig, Pulse};
use fmnist_examples::{Console, ConsumerArguments, finish, log_to_stderr, prepare, watch};
use frontend_actix::{Config, shutdown_signal};
use transport_pubsub::PubSubTransport;

#[tokio::main]
async fn main() -> ExitCode {
    log_to_stderr();
    finish(consume(ConsumerArguments::parse()).await)
}

async fn consume(arguments: ConsumerArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let config = Config::from_env(arguments.config.as_deref())?;
    // The model comes first: nothing is received before it can answer.
    let prepared = prepare(&config).await?;
    let transport = PubSubTransport::connect(&config.pubsub).await?;
    let subscription = config.pubsub.subscription_name(&config.pubsub.subscription_id);
    println!("Listening for messages on {subscription}..\n");
    println!("starting stream...");

    let settings =
        PipelineConfig { record_only: config.pubsub.results_topic.is_none(), ..config.pipeline() };
    let pulse = Pulse::default();
    watch(&pulse);
    let ended = Pipeline::new(transport, prepared.model, prepared.test_set.images, settings)
        .with_sink(Console::new(prepared.is_synthetic))
        .with_pulse(pulse)
        .run(shutdown)
        .await;
    println!("ending stream...");
    let report = ended?;
    eprintln!("{} images in {} batches; {:?}", report.images, report.batches, report.settlement);
    Ok(())
}
