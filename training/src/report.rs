//! The folder of a report: Markdown to read and JSON to compute with.

pub(crate) mod sheet;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::place;

/// What stands on plots.
pub(crate) const FONT: &str = "sans-serif";

/// The folder of a report, the one that was named or its own: files can be written into it.
pub(crate) fn folder(named: Option<&Path>, own: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = named.map_or_else(|| Path::new("training/reports").join(own), Path::to_owned);
    place::expect_folder(&folder)?;
    Ok(folder)
}

/// Writes `report.json` and `README.md`.
pub(crate) fn write(folder: &Path, json: &serde_json::Value, markdown: &str) -> Result<()> {
    let json = serde_json::to_string_pretty(json)? + "\n";
    for (name, text) in [("report.json", &*json), ("README.md", markdown)] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
