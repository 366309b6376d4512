//! What was done and what came of it: a table in a document, and the same as JSON beside it.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use fmnist_core::audit::Account;
use markdown::Table;

const COLUMNS: [&str; 7] =
    ["where", "what", "messages", "dead letters", "missing", "duplicates", "seconds"];
const BEGIN: &str = "<!-- chaos: begin -->";
const END: &str = "<!-- chaos: end -->";
/// Ids that a line names at most.
const NAMED: usize = 5;

/// One line of the table.
pub(crate) struct Row {
    cell: String,
    what: String,
    messages: usize,
    dead_letters: usize,
    /// Ids of inputs without a whole end.
    missing: Vec<String>,
    duplicates: usize,
    seconds: u64,
}

impl Row {
    pub(crate) fn new(cell: String, what: String, account: &Account, time: Duration) -> Self {
        Self {
            cell,
            what,
            messages: account.inputs,
            dead_letters: account.dead_lettered,
            missing: account.missing.iter().chain(&account.incomplete).cloned().collect(),
            duplicates: account.duplicates,
            seconds: time.as_secs(),
        }
    }

    /// What stands in each of the columns.
    fn cells(&self) -> [String; COLUMNS.len()] {
        let Self { cell, what, messages, dead_letters, missing, duplicates, seconds } = self;
        [
            cell.clone(),
            what.clone(),
            messages.to_string(),
            dead_letters.to_string(),
            named(missing),
            duplicates.to_string(),
            seconds.to_string(),
        ]
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&COLUMNS, &[0, 1]);
    for row in rows {
        table.row(&row.cells().each_ref().map(String::as_str));
    }
    table.to_string()
}

/// How many ids there are, and the first of them.
pub(crate) fn named(ids: &[String]) -> String {
    match ids.len() {
        0 => "0".to_owned(),
        count if count <= NAMED => format!("{count}: {}", ids.join(", ")),
        count => format!("{count}: {}, …", ids[..NAMED].join(", ")),
    }
}

/// Puts the table between the marks of a document, and writes the file of that name with `.json`.
pub(crate) fn write(path: &Path, command: &str, rows: &[Row]) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let marks = (text.find(BEGIN), text.find(END));
    let (Some(begin), Some(end)) = marks else {
        anyhow::bail!("{} has no {BEGIN} … {END}", path.display())
    };
    let (before, after) = (&text[..begin + BEGIN.len()], &text[end..]);
    let table = table(rows);
    fs::write(path, format!("{before}\nBy `{command}`:\n\n{table}{after}"))?;
    let rows: Vec<_> = rows.iter().map(Row::cells).collect();
    let json = serde_json::json!({ "command": command, "columns": COLUMNS, "rows": rows });
    fs::write(path.with_extension("json"), format!("{json:#}\n"))?;
    Ok(())
}
