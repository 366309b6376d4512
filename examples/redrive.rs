//! Sends dead letters to the source topic again:
//! `cargo run --release --example redrive -- --config config.json --dry-run`

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use frontend_actix::Config;
use service::{RedriveArguments, config::Document, failed, log_from_env};

/// Sends dead letters to the source topic again: key, payload and headers as they first came.
#[derive(Parser)]
#[command(name = "redrive", after_help = EXAMPLES)]
struct Arguments {
    /// The configuration, as config.example.json
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    redrive: RedriveArguments,
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example redrive -- --config config.json --dry-run
  cargo run --release --example redrive -- --config config.json --stage INFER --rate 20
  cargo run --release --example redrive -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z
  cargo run --release --example redrive -- --config config.json --broker pubsub \\
      --subscription dead-letters-subscription

On Kafka the letters stay where they are: the same window twice sends them twice. The last line says
with which --from to go on. On Pub/Sub a letter is acknowledged once its message is confirmed; one
that is left is delivered again.

Exit codes: 0 every chosen letter was sent again, 1 an error, 2 wrong arguments, 3 some were left,
because of --max-redrives, because the broker had not taken them whole as letters, or because it does
not take the message, 141 stdout was closed.";

#[tokio::main]
async fn main() -> ExitCode {
    let _logs = log_from_env();
    let Arguments { config, redrive } = Arguments::parse();
    let config = match Config::from_env(config.as_deref()) {
        Ok(config) => config,
        Err(error) => return failed(&error.into()),
    };
    service::redrive(&config.brokers(), &redrive).await
}
