//! Proves that every message of a window came to exactly one end:
//! `cargo run --release --example audit -- --config config.json --from TIME --to TIME`

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fmnist_core::message::ResultRecord;
use fmnist_examples::{Replay, prepare};
use frontend_actix::Config;
use serde_json::json;
use service::{
    AuditArguments, History, audited, config::Document, failed, log_from_env, print_account,
    print_ids, print_line,
};

/// Proves from Kafka's topics that every message of a window came to exactly one end: a result, all
/// parts of a split result, or a dead letter.
#[derive(Parser)]
#[command(name = "audit", after_help = EXAMPLES)]
struct Arguments {
    /// The configuration, as config.example.json
    #[arg(long)]
    config: Option<PathBuf>,
    /// Replay results of this model, too: a built-in one or a weights file that served in the window. May
    /// be said again
    #[arg(long, value_name = "NAME|FILE", requires = "replay")]
    model: Vec<String>,
    #[command(flatten)]
    audit: AuditArguments,
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example audit -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z
  cargo run --release --example audit -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z --replay --json audit.json
  cargo run --release --example audit -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z --replay --model old.safetensors

Results are read from --from to the present end, so wait until the window's messages are answered.
--replay needs the models, the engine and the test set that the results were made with, and the
same kind of processor.

Exit codes: 0 every message has exactly one end and every replay agrees, 1 an error, 2 wrong
arguments, 3 something is missing, incomplete, doubled, orphaned or different, 141 stdout was closed.";

#[tokio::main]
async fn main() -> ExitCode {
    let _logs = log_from_env();
    let arguments = Arguments::parse();
    let Arguments { audit, .. } = &arguments;
    match read(&arguments).await {
        Ok((config, replay)) => audited(&config.brokers(), &audit.broker, |history| {
            tokio::task::block_in_place(|| compare(audit, history, replay))
        }),
        Err(error) => failed(&error),
    }
}

async fn read(arguments: &Arguments) -> anyhow::Result<(Config, Option<Replay>)> {
    let config = Config::from_env(arguments.config.as_deref())?;
    if !arguments.audit.replay {
        return Ok((config, None));
    }
    let others = arguments.model.iter().map(|name| config.model.open(name));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let replay = Replay::new(prepare(&config).await?, others);
    Ok((config, Some(replay)))
}

fn compare(
    audit: &AuditArguments,
    history: &dyn History,
    mut replay: Option<Replay>,
) -> anyhow::Result<bool> {
    let id = |message: &fmnist_core::transport::Outbound| {
        let result: ResultRecord = serde_json::from_slice(&message.payload).ok()?;
        Some((result.id.clone(), result))
    };
    let window = audit.read(history, id, |input, result| match &mut replay {
        Some(replay) => replay.compare(input, &result),
        None => Ok(()),
    })?;
    let account = window.ledger.account();
    print_account(&account, "missing")?;
    if let Some(replay) = &replay {
        print_line(format_args!("replay: {} results agree bit for bit", replay.agreed))?;
        print_ids("not replayed, of a model that --model does not name", &replay.other_models)?;
        print_ids("different", &replay.different)?;
    }
    let agrees = replay.as_ref().is_none_or(Replay::agrees);
    let replay = replay.map(|replay| {
        json!({
            "agreed": replay.agreed,
            "other_models": replay.other_models,
            "different": replay.different,
        })
    });
    audit.write(history, &account, replay)?;
    Ok(account.is_exact() && agrees)
}
