//! The folder of a report: Markdown to read and JSON to compute with.

pub(crate) mod plot;
pub(crate) mod sheet;

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Creates the folder, and all that it is in.
pub(crate) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
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
