//! What has been trained: `runs.jsonl`, a line for each finished run.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fmnist_core::weights::{self, Weights};

use super::list::Run;

/// A finished run. The test set was not read.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    pub(super) recipe: String,
    pub(super) seed: u64,
    /// The options of the list.
    pub(super) train: String,
    /// What trains it again.
    pub(super) command: String,
    pub(super) architecture: String,
    pub(super) epochs: usize,
    /// Images that no step saw.
    pub(super) held_out: usize,
    /// Share of right answers on them, 0.0–1.0.
    pub(super) held_out_accuracy: f64,
    /// What logits are divided by to be calibrated on them.
    pub(super) temperature: f32,
    /// What the steps took, breaks not counted.
    pub(super) seconds: f64,
    /// The file beside `runs.jsonl`.
    pub(super) weights: String,
    pub(super) sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
}

impl Record {
    pub(super) fn of(run: &Run, trained: &Weights, file: String, seconds: f64) -> Result<Self> {
        let metadata = &trained.metadata;
        let origin = metadata.origin.as_ref().context("a trained model says how it was trained")?;
        Ok(Self {
            recipe: run.recipe.clone(),
            seed: run.seed,
            train: run.train.clone(),
            command: origin.command.clone(),
            architecture: metadata.architecture.clone(),
            epochs: origin.epochs,
            held_out: origin.held_out,
            held_out_accuracy: origin.held_out_accuracy,
            temperature: metadata.temperature,
            seconds,
            weights: file,
            sha256: weights::sha256(&trained.to_bytes()),
            commit: origin.commit.clone(),
        })
    }
}

fn path(place: &Path) -> PathBuf {
    place.join("runs.jsonl")
}

/// Reads all lines; none where no run has finished yet.
pub(super) fn read(place: &Path) -> Result<Vec<Record>> {
    let path = path(place);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let record = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", path.display(), number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(record).collect()
}

/// The line of a run, if it has finished.
pub(super) fn of<'a>(run: &Run, records: &'a [Record]) -> Option<&'a Record> {
    records.iter().find(|record| (&record.recipe, record.seed) == (&run.recipe, run.seed))
}

/// Adds a line, in one write: other processes may do so, too.
pub(super) fn append(place: &Path, record: &Record) -> Result<()> {
    let path = path(place);
    let line = serde_json::to_string(record)? + "\n";
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", path.display()))
}
