//! Classifies what comes on a Pub/Sub subscription:
//! `cargo run --release --example pubsub_consumer -- --config config.json`

use std::process::ExitCode;

use clap::Parser;
use fmnist_core::{
    Supervisor,
    pipeline::{Pipeline, PipelineConfig},
    transport::Transport,
};
use fmnist_examples::{Console, prepare_consumer, wait_for};
use frontend_actix::BrokerKind;
use service::{Consumer, ConsumerArguments, ended, run_program, stdout};
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

fn main() -> ExitCode {
    let arguments = Arguments::parse().consumer;
    run_program(|parts| consume(arguments, parts))
}

async fn consume(arguments: ConsumerArguments, parts: Supervisor) -> anyhow::Result<()> {
    let shutdown = arguments.shutdown_signal(false)?;
    let config = arguments.config.read()?;
    // The model comes first: nothing is received before it can answer.
    let Some(prepared) = prepare_consumer(&config, &arguments, BrokerKind::PubSub).await? else {
        return Ok(());
    };
    let consumer = Consumer::start(&config.server.probes(), PubSubTransport::NAME, &parts)?;
    let requests = prepared.requests(&config);
    let (model, control) = prepared.operate(&config, &parts).await?;
    consumer.probes().shows(control);
    let database = wait_for(prepared.database, &consumer).await?;
    let transport = PubSubTransport::connect_within(&config.pubsub, &config.batch).await?;
    let transport = transport.with_pulse(consumer.pulse());
    let subscription = config.pubsub.subscription_name(&config.pubsub.subscription_id);
    stdout().line(format_args!("Listening for messages on {subscription}..\n\nstarting stream..."));

    let record_only = config.pubsub.results_topic.is_none();
    let settings = PipelineConfig { record_only, ..config.pipeline() };
    let is_record = record_only && database.is_none();
    let console = Console::from_env(prepared.is_synthetic).as_record(is_record);
    let pipeline =
        Pipeline::new(transport, model, requests, settings).with_sink((database, console));
    let report = consumer.run(pipeline, shutdown).await;
    stdout().line("ending stream...");
    ended(&report?)
}
