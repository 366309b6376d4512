//! What is done, runs and waits, as a table.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use anyhow::Result;
use markdown::Table;

use super::{list::Run, record};
use crate::learn::{checkpoint, history};

/// A line for each run of the list, in its order.
pub(super) fn of(runs: &[Run], place: &Path) -> Result<Table> {
    let records = record::read(place)?;
    let mut table = Table::new(&["recipe", "seed", "state", "held out", "minutes"], &[0, 2]);
    for run in runs {
        let percent = |accuracy: f64| format!("{:.2} %", 100.0 * accuracy);
        let (state, held_out, minutes) = match record::of(run, &records) {
            Some(record) => (
                "done".to_owned(),
                percent(record.held_out_accuracy),
                format!("{:.1}", record.seconds / 60.0),
            ),
            None => {
                let epoch = history::last(&run.checkpoints(place));
                let accuracy = epoch.as_ref().map(|epoch| percent(epoch.held_out_accuracy));
                let reached = epoch.map(|epoch| format!(", epoch {}", epoch.epoch));
                let state = format!("{}{}", state(run, place), reached.unwrap_or_default());
                (state, accuracy.unwrap_or_default(), String::new())
            }
        };
        table.row(&[&run.recipe, &run.seed.to_string(), &state, &held_out, &minutes]);
    }
    Ok(table)
}

/// What becomes of a run that is not done.
fn state(run: &Run, place: &Path) -> &'static str {
    let locked = File::open(run.lock(place)).map(|file| file.try_lock_shared());
    match locked {
        Ok(Err(TryLockError::WouldBlock)) => "runs",
        _ if checkpoint::newest(&run.checkpoints(place)).is_some() => "begun",
        _ => "waits",
    }
}
