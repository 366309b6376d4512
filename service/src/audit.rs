//! Whether every message of a window of a topic came to exactly one end.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use stream_inference::{
    audit::{Account, Ledger},
    codec::PartId,
    transport::{DeadLetter, Outbound, Source},
};

use crate::print_line;

/// Ids that are printed of each kind; the JSON report has all.
const SHOWN: usize = 10;

/// The window of an audit, and what becomes of its report.
#[derive(Clone, Debug, Args)]
pub struct AuditArguments {
    /// Where the messages are.
    #[arg(long, value_name = "NAME", default_value = "kafka")]
    pub broker: String,
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

/// Messages that can be read again, outside of any group. Every call blocks.
pub trait History {
    /// Where messages come from.
    fn topic(&self) -> &str;

    /// Tells `each` of what was written at `from` or later, and before `to`, in the order of its lanes, with
    /// the id of the place. Returns which messages' ends are the affair of who reads so.
    ///
    /// # Errors
    /// If the broker is away, a topic is missing, or `each` fails.
    fn read(
        &self,
        topic: Topic,
        from: Timestamp,
        to: Option<Timestamp>,
        each: &mut Each<'_>,
    ) -> anyhow::Result<Within>;

    /// The coordinates of the message of this id.
    fn source(&self, id: &str) -> Option<Source>;
}

/// What hears of messages, each with the id of its place.
pub type Each<'a> = dyn FnMut(String, Outbound) -> anyhow::Result<()> + 'a;

/// Whether the end of the message of this id is to be counted: not that of one which lies before or behind
/// what was read.
pub type Within = Box<dyn Fn(&str) -> bool>;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Messages to answer.
    Input,
    /// Answers, on however many topics.
    Results,
    /// What could not be answered.
    DeadLetters,
}

impl AuditArguments {
    /// Reads the window's messages, and every result and dead letter since its beginning. `id` reads the
    /// id of a result, and `replay` hears of each message with one of its results. Blocks.
    ///
    /// # Errors
    /// As [`History::read`], or if `replay` fails.
    pub fn read<R>(
        &self,
        history: &dyn History,
        id: impl Fn(&Outbound) -> Option<(String, R)>,
        mut replay: impl FnMut(&Outbound, R) -> anyhow::Result<()>,
    ) -> anyhow::Result<Window> {
        anyhow::ensure!(self.from < self.to, "--from must be before --to");
        let mut ledger = Ledger::default();
        let mut inputs = HashMap::new();
        let is_counted =
            history.read(Topic::Input, self.from, Some(self.to), &mut |id, message| {
                ledger.input(&id);
                if self.replay {
                    inputs.insert(id, message);
                }
                Ok(())
            })?;
        let _all = history.read(Topic::Results, self.from, None, &mut |place, message| {
            match id(&message) {
                None => ledger.result(&format!("unreadable result at {place}")),
                Some((id, _)) if !is_counted(&id) => {}
                Some((id, result)) => {
                    ledger.result(&id);
                    if let Some(input) = inputs.get(PartId::message(&id)) {
                        replay(input, result)?;
                    }
                }
            }
            Ok(())
        })?;
        let _all = history.read(Topic::DeadLetters, self.from, None, &mut |place, message| {
            match DeadLetter::read(message) {
                None => ledger.dead_letter(&format!("unreadable dead letter at {place}")),
                Some(letter) if is_counted(&letter.id) => ledger.dead_letter(&letter.id),
                Some(_) => {}
            }
            Ok(())
        })?;
        Ok(Window { ledger, inputs })
    }

    /// Writes the report where that is asked, `replay` with it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(
        &self,
        history: &dyn History,
        account: &Account,
        replay: Option<Value>,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let report = json!({
            "schema": 1,
            "topic": history.topic(),
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
