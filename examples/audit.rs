//! Proves that every message of a window came to exactly one end:
//! `cargo run --release --example audit -- --config config.json --from TIME --to TIME`

use std::{collections::HashMap, fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use fmnist_core::{
    audit::{Account, Ledger},
    message::ResultRecord,
    transport::DeadLetter,
};
use fmnist_examples::{Replay, prepare};
use frontend_actix::Config;
use jiff::Timestamp;
use serde_json::json;
use service::{config::Document, failed, log_from_env, print_line};
use transport_kafka::{KafkaHistory, KafkaSpan, KafkaStart};

/// Proves from Kafka's topics that every message of a window came to exactly one end: a result, all
/// parts of a split result, or a dead letter.
#[derive(Parser)]
#[command(name = "audit", after_help = EXAMPLES)]
struct Arguments {
    /// The configuration, as config.example.json
    #[arg(long)]
    config: Option<PathBuf>,
    /// Messages written at this time or later, RFC 3339
    #[arg(long)]
    from: Timestamp,
    /// Messages written before this time, RFC 3339
    #[arg(long)]
    to: Timestamp,
    /// Also write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Classify the messages again and compare with the results bit for bit
    #[arg(long)]
    replay: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example audit -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z
  cargo run --release --example audit -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z --replay --json audit.json

Results are read from --from to the present end, so wait until the window's messages are answered.
--replay needs the model, the engine and the test set that the results were made with, and the
same kind of processor.

Exit codes: 0 every message has exactly one end and every replay agrees, 1 an error, 2 wrong
arguments, 3 something is missing, incomplete, doubled, orphaned or different, 141 stdout was closed.";

/// Ids that are printed of each kind; the JSON report has all.
const SHOWN: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let _logs = log_from_env();
    match audit(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => failed(&error),
    }
}

async fn audit(arguments: &Arguments) -> anyhow::Result<bool> {
    anyhow::ensure!(arguments.from < arguments.to, "--from must be before --to");
    let config = Config::from_env(arguments.config.as_deref())?;
    let mut replay = match arguments.replay {
        true => Some(Replay::new(prepare(&config).await?)),
        false => None,
    };
    let (from, to) = (arguments.from.as_millisecond(), arguments.to.as_millisecond());
    let account = tokio::task::block_in_place(|| read(&config, from, to, replay.as_mut()))?;
    print(&account)?;
    if let Some(replay) = &replay {
        print_line(format_args!("replay: {} results agree bit for bit", replay.agreed))?;
        list("not replayed, another model", &replay.other_models)?;
        list("different", &replay.different)?;
    }
    let agrees = replay.as_ref().is_none_or(Replay::agrees);
    if let Some(path) = &arguments.json {
        let replay = replay.map(|replay| {
            json!({
                "agreed": replay.agreed,
                "other_models": replay.other_models,
                "different": replay.different,
            })
        });
        let report = json!({
            "schema": 1,
            "topic": config.kafka.topic,
            "from": arguments.from.to_string(),
            "to": arguments.to.to_string(),
            "exact": account.is_exact(),
            "account": account,
            "replay": replay,
        });
        fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(account.is_exact() && agrees)
}

fn print(account: &Account) -> anyhow::Result<()> {
    let Account { inputs, answered, dead_lettered, duplicates, .. } = account;
    print_line(format_args!(
        "{inputs} messages: {answered} answered, {dead_lettered} dead-lettered"
    ))?;
    list("missing", &account.missing)?;
    list("incomplete", &account.incomplete)?;
    list("doubled", &account.doubled)?;
    list("orphaned", &account.orphaned)?;
    if *duplicates > 0 {
        print_line(format_args!("{duplicates} results and dead letters too many"))?;
    }
    let verdict = if account.is_exact() { "exactly one end each" } else { "NOT one end each" };
    print_line(format_args!("{verdict}"))
}

fn list(what: &str, ids: &[String]) -> anyhow::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let shown = ids[..ids.len().min(SHOWN)].join(", ");
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    print_line(format_args!("{what}: {}: {shown}{more}", ids.len()))
}

/// Reads the window's messages, and every result and dead letter since its beginning.
fn read(
    config: &Config,
    from: i64,
    to: i64,
    mut replay: Option<&mut Replay>,
) -> anyhow::Result<Account> {
    let kafka = &config.kafka;
    let results = kafka.results_topic().context("there is no results topic to audit")?;
    let mut ledger = Ledger::default();
    let mut inputs = HashMap::new();
    let mut window = KafkaHistory::open(kafka, &kafka.topic, KafkaStart::Time(from), Some(to))?;
    let spans = window.spans().to_vec();
    while let Some(record) = window.next_record()? {
        let id = format!("{}/{}/{}", kafka.topic, record.partition, record.offset);
        ledger.input(&id);
        if replay.is_some() {
            inputs.insert(id, record.message);
        }
    }
    let mut history = KafkaHistory::open(kafka, results, KafkaStart::Time(from), None)?;
    while let Some(record) = history.next_record()? {
        let place = format!("{results}/{}/{}", record.partition, record.offset);
        let result: Result<ResultRecord, _> = serde_json::from_slice(&record.message.payload);
        let Ok(result) = result else {
            ledger.result(&format!("unreadable result at {place}"));
            continue;
        };
        if !is_counted(&result.id, &kafka.topic, &spans) {
            continue;
        }
        ledger.result(&result.id);
        let id = result.id.split('#').next().unwrap_or_default();
        if let (Some(replay), Some(input)) = (replay.as_deref_mut(), inputs.get(id)) {
            replay.compare(input, &result)?;
        }
    }
    let dead_letters = &kafka.dead_letter_topic;
    let mut history = KafkaHistory::open(kafka, dead_letters, KafkaStart::Time(from), None)?;
    while let Some(record) = history.next_record()? {
        let place = format!("{dead_letters}/{}/{}", record.partition, record.offset);
        match DeadLetter::read(record.message) {
            None => ledger.dead_letter(&format!("unreadable dead letter at {place}")),
            Some(letter) if is_counted(&letter.id, &kafka.topic, &spans) => {
                ledger.dead_letter(&letter.id);
            }
            Some(_) => {}
        }
    }
    Ok(ledger.account())
}

/// Whether an end is the window's affair: not that of a message that lies before or behind it.
///
/// What no message of the topic can have is counted, and comes out as an orphan.
fn is_counted(id: &str, topic: &str, spans: &[KafkaSpan]) -> bool {
    let place = id.split('#').next().and_then(|id| {
        let (rest, offset) = id.rsplit_once('/')?;
        let (of, partition) = rest.rsplit_once('/')?;
        Some((of, partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?))
    });
    let Some((of, partition, offset)) = place else { return true };
    let span = spans.iter().find(|span| span.partition == partition);
    match span {
        Some(span) if of == topic => {
            let before = (0..span.start).contains(&offset);
            // Also what was written after the history was opened.
            let behind = offset >= span.end;
            !before && !behind
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_messages_outside_of_the_window_are_not_its_affair() {
        let spans = [KafkaSpan { partition: 0, start: 10, end: 20 }];
        let counted = |id| is_counted(id, "IN", &spans);
        assert!(counted("IN/0/10") && counted("IN/0/19#2/3"));
        assert!(!counted("IN/0/9") && !counted("IN/0/20") && !counted("IN/0/30#1/2"));
        // No message has such an id.
        for id in ["IN/1/10", "OTHER/0/10", "IN/0/-1", "IN/0/x", "nonsense"] {
            assert!(counted(id), "{id}");
        }
    }
}
