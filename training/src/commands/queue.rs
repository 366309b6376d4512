//! Recipes and seeds, worked off one after the other.
//!
//! The list is read anew before each run, so lines may be added while it is worked off, and several
//! processes may share the work. Beside the list lies a folder of its name: `runs.jsonl` with a line for
//! each finished run, the weights of each, and a folder with the last checkpoint of each that is begun.
//! The test set is not read: recipes are chosen on held-out images.

mod list;
mod record;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use list::Run;
use markdown::Table;
use record::Record;

use crate::{
    commands::train::{Trained, train},
    console::{self, remark, say},
    data,
    learn::{checkpoint, history, run::Stop},
    place,
};

const HELP: &str = r#"A line of the list, with options of `training train`:
  {"recipe": "longer", "seeds": [1, 2], "train": "--model base --epochs 60 --threads 1"}

The folder beside it has runs.jsonl, the weights of finished runs, and checkpoints. Ctrl-C stops the
queue, the same command goes on with it; so it does after a crash."#;

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct QueueArguments {
    /// The list, one JSON object a line
    file: PathBuf,
    /// Print what is done, runs and waits, and train nothing
    #[arg(long)]
    status: bool,
    /// Where runs.jsonl, weights and checkpoints go [default: FILE without its extension]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
}

impl QueueArguments {
    /// The runs of the list; none of them is done by another recipe of its name.
    fn runs(&self, place: &Path) -> Result<Vec<Run>> {
        let runs = list::read(&self.file, self.data.as_deref())?;
        let done = record::read(place)?;
        for run in &runs {
            if let Some(record) = record::of(run, &done) {
                ensure!(
                    record.train == run.train,
                    "recipe {} was run as `{}` and is now `{}`; give the new one a name of its own",
                    run.recipe,
                    record.train,
                    run.train
                );
            }
        }
        Ok(runs)
    }
}

pub(crate) fn run(arguments: &QueueArguments) -> Result<()> {
    let file = &arguments.file;
    let place = arguments.out.clone().unwrap_or_else(|| file.with_extension(""));
    ensure!(place != *file, "{}: expected a name with an extension, or --out", file.display());
    let mut runs = arguments.runs(&place)?;
    if arguments.status {
        return say!("{}", table(&runs, &place)?.to_string().trim_end());
    }
    place::expect_folder(&place)?;
    place::create_folder(&place)?;

    let stop = Stop::at_ctrl_c()?;
    let mut failed: Vec<String> = Vec::new();
    while let Some((run, lock)) = next(&runs, &place, &failed)? {
        remark!("{}: {}", run.name(), run.train)?;
        let ended = work_off(run, &place, &stop);
        drop(lock);
        match ended {
            Err(error) if console::is_unread(&error) => return Err(error),
            Err(error) => {
                remark!("{} failed: {error:#}", run.name())?;
                failed.push(run.name());
            }
            Ok(()) if stop.is_asked_for() => return say!("stopped; the same command goes on"),
            Ok(()) => {}
        }
        match arguments.runs(&place) {
            Ok(newer) => runs = newer,
            Err(error) => remark!("going on with the list as it was: {error:#}")?,
        }
    }
    say!("{}", table(&runs, &place)?.to_string().trim_end())?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The first run that is not done, that has not failed here and that no other process works on.
fn next<'a>(runs: &'a [Run], place: &Path, failed: &[String]) -> Result<Option<(&'a Run, File)>> {
    let is_done =
        |run: &Run| Ok::<_, anyhow::Error>(record::of(run, &record::read(place)?).is_some());
    for run in runs {
        if failed.contains(&run.name()) || is_done(run)? {
            continue;
        }
        let path = run.lock(place);
        let cannot = || format!("cannot lock {}", path.display());
        let file = File::create(&path).with_context(cannot)?;
        match file.try_lock() {
            // Asked again under the lock: another process may have finished it a moment ago.
            Ok(()) if !is_done(run)? => return Ok(Some((run, file))),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
    }
    Ok(None)
}

/// Trains to the end, or until it is to stop.
fn work_off(run: &Run, place: &Path, stop: &Stop) -> Result<()> {
    let data = data::open_train(run.arguments.data.as_deref())?;
    let folder = run.checkpoints(place);
    let trained = train(&run.arguments, &data, None, &folder, stop)?;
    let Some(Trained { weights, seconds }) = trained else { return Ok(()) };
    let file = format!("{}.safetensors", run.name());
    weights.save(&place.join(&file))?;
    record::append(place, &Record::of(run, &weights, file, seconds)?)?;
    // Nothing below is needed any more; a crash before this leaves it for nobody.
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    fs::remove_file(run.lock(place)).context("cannot remove a lock")
}

/// A line for each run of the list, in its order.
fn table(runs: &[Run], place: &Path) -> Result<Table> {
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
