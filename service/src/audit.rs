//! Whether every message of a window of Kafka's topics came to exactly one end.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use stream_inference::{
    audit::{Account, Ledger},
    codec::PartId,
    transport::{DeadLetter, Outbound},
};
use transport_kafka::{KafkaConfig, KafkaHistory, KafkaPlace, KafkaSpan, KafkaStart};

use crate::print_line;

/// Ids that are printed of each kind; the JSON report has all.
const SHOWN: usize = 10;

/// The window of an audit, and what becomes of its report.
#[derive(Clone, Debug, Args)]
pub struct AuditArguments {
    /// Messages written at this time or later, RFC 3339
    #[arg(long)]
    pub from: Timestamp,
    /// Messages written before this time, RFC 3339
    #[arg(long)]
    pub to: Timestamp,
    /// Also write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Answer the window's messages again, to tell what differs or is filtered
    #[arg(long)]
    pub replay: bool,
}

/// A window's messages and their ends.
pub struct Window {
    /// Every message and every end.
    pub ledger: Ledger,
    /// The window's messages by id, where they were asked for.
    pub inputs: HashMap<String, Outbound>,
}

impl AuditArguments {
    /// Reads the window's messages, and every result and dead letter since its beginning. `id` reads the
    /// id of a result, and `replay` hears of each message with one of its results. Blocks.
    ///
    /// # Errors
    /// If the broker is away, a topic is missing, or `replay` fails.
    pub fn read<R>(
        &self,
        kafka: &KafkaConfig,
        id: impl Fn(&Outbound) -> Option<(String, R)>,
        mut replay: impl FnMut(&Outbound, R) -> anyhow::Result<()>,
    ) -> anyhow::Result<Window> {
        anyhow::ensure!(self.from < self.to, "--from must be before --to");
        let (from, to) = (self.from.as_millisecond(), self.to.as_millisecond());
        anyhow::ensure!(
            kafka.result_topics().next().is_some(),
            "there is no results topic to audit"
        );
        let mut ledger = Ledger::default();
        let mut inputs = HashMap::new();
        let mut window = KafkaHistory::open(kafka, &kafka.topic, KafkaStart::Time(from), Some(to))?;
        let spans = window.spans().to_vec();
        while let Some(record) = window.next_record()? {
            let id = record.place(&kafka.topic).to_string();
            ledger.input(&id);
            if self.replay {
                inputs.insert(id, record.message);
            }
        }
        for results in kafka.result_topics() {
            let mut history = KafkaHistory::open(kafka, results, KafkaStart::Time(from), None)?;
            while let Some(record) = history.next_record()? {
                let Some((id, result)) = id(&record.message) else {
                    let place = record.place(results);
                    ledger.result(&format!("unreadable result at {place}"));
                    continue;
                };
                if !is_counted(&id, &kafka.topic, &spans) {
                    continue;
                }
                ledger.result(&id);
                if let Some(input) = inputs.get(PartId::message(&id)) {
                    replay(input, result)?;
                }
            }
        }
        let dead_letters = &kafka.dead_letter_topic;
        let mut history = KafkaHistory::open(kafka, dead_letters, KafkaStart::Time(from), None)?;
        while let Some(record) = history.next_record()? {
            let place = record.place(dead_letters);
            match DeadLetter::read(record.message) {
                None => ledger.dead_letter(&format!("unreadable dead letter at {place}")),
                Some(letter) if is_counted(&letter.id, &kafka.topic, &spans) => {
                    ledger.dead_letter(&letter.id);
                }
                Some(_) => {}
            }
        }
        Ok(Window { ledger, inputs })
    }

    /// Writes the report where that is asked, `replay` with it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(
        &self,
        kafka: &KafkaConfig,
        account: &Account,
        replay: Option<Value>,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let report = json!({
            "schema": 1,
            "topic": kafka.topic,
            "from": self.from.to_string(),
            "to": self.to.to_string(),
            "exact": account.is_exact(),
            "account": account,
            "replay": replay,
        });
        fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Prints an account on stdout. What has no end is `missing`, a word that depends on whether a message may
/// come to none.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn print_account(account: &Account, missing: &str) -> anyhow::Result<()> {
    let Account { inputs, answered, dead_lettered, filtered, duplicates, .. } = account;
    let filtered = match filtered {
        0 => String::new(),
        n => format!(", {n} filtered"),
    };
    print_line(format_args!(
        "{inputs} messages: {answered} answered, {dead_lettered} dead-lettered{filtered}"
    ))?;
    print_ids(missing, &account.missing)?;
    print_ids("incomplete", &account.incomplete)?;
    print_ids("doubled", &account.doubled)?;
    print_ids("orphaned", &account.orphaned)?;
    if *duplicates > 0 {
        print_line(format_args!("{duplicates} results and dead letters too many"))?;
    }
    let verdict = if account.is_exact() { "exactly one end each" } else { "NOT one end each" };
    print_line(format_args!("{verdict}"))
}

/// Prints the number of ids, where there are any, and the first of them.
///
/// # Errors
/// As [`print_account`].
pub fn print_ids(what: &str, ids: &[String]) -> anyhow::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let shown = ids[..ids.len().min(SHOWN)].join(", ");
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    print_line(format_args!("{what}: {}: {shown}{more}", ids.len()))
}

/// Whether an end is the window's affair: not that of a message that lies before or behind it.
///
/// What no message of the topic can have is counted, and comes out as an orphan.
fn is_counted(id: &str, topic: &str, spans: &[KafkaSpan]) -> bool {
    let Some(place) = KafkaPlace::parse(PartId::message(id)) else { return true };
    let span = spans.iter().find(|span| span.partition == place.partition);
    match span {
        Some(span) if place.topic == topic => {
            let before = (0..span.start).contains(&place.offset);
            // Also what was written after the history was opened.
            let behind = place.offset >= span.end;
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
