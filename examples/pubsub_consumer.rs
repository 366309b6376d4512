//! Classifies what comes on a Pub/Sub subscription:
//! `cargo run --release --example pubsub_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::Supervisor;
use fmnist_examples::Answering;
use frontend_actix::Config;
use service::{ConsumerArguments, PubSubSource, Source, run_program, stdout};

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

fn main() -> ExitCode {
    let arguments = Arguments::parse().consumer;
    run_program(|parts| consume(arguments, parts))
}

async fn consume(arguments: ConsumerArguments, parts: Supervisor) -> anyhow::Result<()> {
    let shutdown = arguments.shutdown_signal(false)?;
    let config: Config = arguments.config.read()?;
    let pubsub = &config.pubsub;
    let Some(answering) = Answering::prepare(&config, &arguments, pubsub, &parts).await? else {
        return Ok(());
    };
    let source = PubSubSource { config: pubsub.clone(), batch: config.batch.clone() };
    let (transport, end) = source.connect(answering.pulse()).await?;
    let subscription = pubsub.subscription_name(&pubsub.subscription_id);
    stdout().line(format_args!("Listening for messages on {subscription}..\n\nstarting stream..."));
    let ended = answering.answer(transport, end, shutdown).await;
    stdout().line("ending stream...");
    ended.map(drop)
}
