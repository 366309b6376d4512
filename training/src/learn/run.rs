//! A run from its first or next step to its end: checkpoints, metrics, progress, Ctrl-C.

use std::{
    io::{self, IsTerminal},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    console::{remark, say},
    learn::{
        history::{self, Epoch},
        trainer::Trainer,
    },
};

/// Whether somebody wants the program to end.
#[derive(Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Hears of Ctrl-C, SIGTERM and SIGHUP; once in a process.
    pub(crate) fn at_ctrl_c() -> Result<Self> {
        let stop = Self::default();
        let flag = Self(Arc::clone(&stop.0));
        ctrlc::set_handler(move || flag.0.store(true, Ordering::SeqCst))
            .context("cannot see Ctrl-C")?;
        Ok(stop)
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Trains to the end and answers true, or until it is to stop and answers false; either way the
/// folder has a checkpoint of the last step.
pub(crate) fn to_the_end(
    trainer: &mut Trainer<'_>,
    held_out: &[usize],
    folder: &Path,
    checkpoint_every: Duration,
    stop: &Stop,
) -> Result<bool> {
    let progress = Progress::new(trainer)?;
    let mut saved = Instant::now();
    while !trainer.is_done() {
        let loss = trainer.step()?;
        progress.step(loss);
        if trainer.step_count().is_multiple_of(trainer.steps_per_epoch()) {
            let epoch = trainer.end_epoch(held_out)?;
            trainer.save(folder)?;
            history::write(folder, trainer.history())?;
            progress.epoch(&epoch)?;
        } else if saved.elapsed() >= checkpoint_every {
            trainer.save(folder)?;
            progress.checkpoint(trainer, loss)?;
        } else if !stop.is_asked_for() {
            continue;
        }
        saved = Instant::now();
        if stop.is_asked_for() && !trainer.is_done() {
            trainer.save(folder)?;
            progress.bar.abandon();
            return Ok(false);
        }
    }
    progress.bar.finish_and_clear();
    Ok(true)
}

/// A bar on a terminal; elsewhere a line for each checkpoint.
struct Progress {
    bar: ProgressBar,
    lines: bool,
    started: Instant,
    first_step: usize,
}

impl Progress {
    fn new(trainer: &Trainer<'_>) -> Result<Self> {
        let steps = trainer.steps_per_epoch() * trainer.epochs();
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        let style = "{bar:40} {pos}/{len} steps, {elapsed} gone, {eta} to go, {msg}";
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.set_position(trainer.step_count() as u64);
        Ok(Self {
            bar,
            lines: !io::stderr().is_terminal(),
            started: Instant::now(),
            first_step: trainer.step_count(),
        })
    }

    fn step(&self, loss: f64) {
        self.bar.inc(1);
        self.bar.set_message(format!("loss {loss:.4}"));
    }

    fn epoch(&self, epoch: &Epoch) -> Result<()> {
        self.bar.suspend(|| {
            say!(
                "epoch {}: loss {:.4}, held out {:.2} % at loss {:.4}",
                epoch.epoch,
                epoch.loss,
                100.0 * epoch.held_out_accuracy,
                epoch.held_out_loss,
            )
        })
    }

    fn checkpoint(&self, trainer: &Trainer<'_>, loss: f64) -> Result<()> {
        if !self.lines {
            return Ok(());
        }
        let (step, steps) = (trainer.step_count(), trainer.steps_per_epoch() * trainer.epochs());
        let pace = (step - self.first_step) as f64 / self.started.elapsed().as_secs_f64();
        let minutes = (steps - step) as f64 / pace / 60.0;
        remark!(
            "step {step} of {steps}: loss {loss:.4}, {:.0} images/s, {minutes:.0} min to go",
            pace * trainer.setup().recipe.batch as f64
        )
    }
}
