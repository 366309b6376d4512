//! Classifies what comes on a Pub/Sub subscription:
//! `cargo run --release --example pubsub_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::pipeline::{Pipeline, PipelineConfig};
use fmnist_examples::{Console, ConsumerArguments, finish, observe, prepare};
use frontend_actix::{Config, log_from_env, shutdown_signal};
use transport_pubsub::PubSubTransport;

#[tokio::main]
async fn main() -> ExitCode {
    log_from_env();
    finish(consume(ConsumerArguments::parse()).await)
}

async fn consume(arguments: ConsumerArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let config = Config::from_env(arguments.config.as_deref())?;
    let (pulse, probes) = observe(&config)?;
    // The model comes first: nothing is received before it can answer.
    let prepared = prepare(&config).await?;
    let transport = PubSubTransport::connect(&config.pubsub).await?;
    probes.ready();
    let subscription = config.pubsub.subscription_name(&config.pubsub.subscription_id);
    println!("Listening for messages on {subscription}..\n");
    println!("starting stream...");

    let settings =
        PipelineConfig { record_only: config.pubsub.results_topic.is_none(), ..config.pipeline() };
    let ended = Pipeline::new(transport, prepared.model, prepared.test_set.images, settings)
        .with_sink(Console::new(prepared.is_synthetic))
        .with_pulse(pulse)
        .run(async {
            shutdown.await;
            probes.draining();
        })
        .await;
    probes.stop().await;
    println!("ending stream...");
    let report = ended?;
    eprintln!("{} images in {} batches; {:?}", report.images, report.batches, report.settlement);
    Ok(())
}
