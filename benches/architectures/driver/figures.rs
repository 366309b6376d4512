//! What a run finds, as JSON lines.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Line {
    Run {
        at: String,
        machine: String,
        seed: u64,
        rounds: usize,
        seconds: u64,
        away_seconds: u64,
        batch: usize,
        partitions: i32,
    },
    Peer(Peer),
    Tried {
        peer: String,
        setting: String,
        messages_per_second: f64,
    },
    Backlog(Backlog),
    Latency(Latency),
    Fault(Fault),
    Failed {
        peer: String,
        step: String,
        reason: String,
    },
}

/// Who is measured, with the setting that was fastest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) setting: String,
    /// Its own programs, libraries and model.
    pub(crate) shipped_bytes: u64,
    /// Python's or Java's, where it needs one.
    pub(crate) runtime_bytes: u64,
}

/// Messages that waited before the peer was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Backlog {
    pub(crate) peer: String,
    pub(crate) round: usize,
    pub(crate) messages: usize,
    pub(crate) first_result_seconds: f64,
    pub(crate) messages_per_second: f64,
    /// Where messages come one by one and their sender shares the cores.
    pub(crate) capacity_per_second: f64,
    pub(crate) cpu_seconds_per_million: f64,
    pub(crate) broker_cpu_seconds_per_million: f64,
    pub(crate) memory_bytes: u64,
}

/// Single messages at random times, whether or not earlier ones are answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) peer: String,
    pub(crate) round: usize,
    pub(crate) percent: u32,
    pub(crate) messages_per_second: f64,
    pub(crate) sent: usize,
    pub(crate) missing: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) greatest_ms: f64,
    pub(crate) cpu_percent: f64,
}

/// What became of a steady load when something went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) peer: String,
    pub(crate) fault: String,
    pub(crate) messages_per_second: f64,
    pub(crate) sent: usize,
    pub(crate) missing: usize,
    pub(crate) doubled: usize,
    pub(crate) dead_letters: usize,
    /// Times that a process ended by itself and was started again.
    pub(crate) restarts: usize,
    /// The longest time without any result.
    pub(crate) stalled_seconds: f64,
}

/// The lines of a run.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Where lines go, each as soon as it is known.
pub(crate) struct Lines(File);

impl Lines {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path);
        Ok(Self(file.with_context(name)?))
    }

    pub(crate) fn add(&mut self, line: &Line) -> anyhow::Result<()> {
        let text = serde_json::to_string(line)?;
        println!("{text}");
        writeln!(self.0, "{text}").context("the lines")
    }
}
