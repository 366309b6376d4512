//! How a run went so far: `metrics.jsonl`, a line for each epoch.

use std::{fs, path::Path};

use anyhow::Result;

use crate::place;

/// What is noted of each epoch, as one line of JSON.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Epoch {
    /// From 1.
    pub(crate) epoch: usize,
    pub(crate) steps: usize,
    /// The mean over the epoch's steps.
    pub(crate) loss: f64,
    /// Share of right answers while it learnt, 0.0–1.0.
    pub(crate) accuracy: f64,
    /// Share of right answers, 0.0–1.0.
    pub(crate) held_out_accuracy: f64,
    pub(crate) held_out_loss: f64,
    /// The learning rate of the next step.
    pub(crate) rate: f64,
}

const FILE: &str = "metrics.jsonl";

/// Writes all lines anew, so that a resumed run has each epoch once.
pub(crate) fn write(folder: &Path, history: &[Epoch]) -> Result<()> {
    let mut lines = String::new();
    for epoch in history {
        lines += &serde_json::to_string(epoch)?;
        lines.push('\n');
    }
    place::write(&folder.join(FILE), lines)
}

/// The last epoch that was noted in a folder.
pub(crate) fn last(folder: &Path) -> Option<Epoch> {
    let text = fs::read_to_string(folder.join(FILE)).ok()?;
    serde_json::from_str(text.lines().last()?).ok()
}
