//! A model that is exchanged while messages run: verified before it serves, taken back by itself where it
//! fails what its predecessor answers.
//!
//! ```
//! use stream_inference::{
//!     predict::{ModelIdentity, PredictError, Predictor, function},
//!     slot::ModelSlot,
//! };
//!
//! let model = |version: &str, factor: f64| {
//!     function(ModelIdentity::of_code("scaled", version), move |batch: &[f64]| {
//!         Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
//!     })
//! };
//! let slot = ModelSlot::new(model("1", 2.0));
//! // A clone goes to the pipeline, which never stops.
//! assert_eq!(slot.predict(&[1.5])?, [3.0]);
//! slot.swap(model("2", 4.0))?;
//! assert_eq!(slot.predict(&[1.5])?, [6.0]);
//! slot.roll_back("it answers too much")?;
//! assert_eq!(slot.identity().version, "1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each batch carries the identity of the model that computed it, and so does each record. A message of
//! several batches that two models answered is handed back and comes again whole.

mod golden;
mod history;
mod shadow;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Instant,
};

pub use golden::Golden;
use history::History;
pub use history::{Change, ChangeKind, describe};
pub use shadow::{Difference, Shadow, ShadowReport};
pub use watch::Watch;

use crate::{
    drift::Drift,
    fail_point,
    predict::{ModelIdentity, PredictError, Predictor, Served, checked},
};

/// Batches for which a new model is on probation, unless told otherwise.
const PROBATION: usize = 100;

/// Whether the second may follow the first: the reason why not.
type Check<P> = dyn Fn(&P, &P) -> Result<(), String> + Send + Sync;

/// A [`Predictor`] whose model can be exchanged. Clones are the same slot.
pub struct ModelSlot<P: Predictor>(Arc<Slot<P>>);

struct Slot<P: Predictor> {
    serving: RwLock<Serving<P>>,
    /// Held while a model is verified and put in, one after the other; a batch never waits for it.
    swapping: Mutex<()>,
    history: History,
    check: Option<Box<Check<P>>>,
    probation: usize,
    drift: Option<Drift<P>>,
    candidate: RwLock<Option<Arc<shadow::Candidate<P>>>>,
}

struct Serving<P> {
    current: Arc<P>,
    previous: Option<Arc<P>>,
    /// Batches that the current model still has to answer before its predecessor stands by no longer.
    on_probation: usize,
    /// Batches on probation for which one of the two may yet be away before that is a failure.
    patience: usize,
}

/// Why the model in service stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// The new model does not do what it has to.
    #[error("the model {to} is not taken, and {from} goes on: {reason}")]
    Refused {
        /// Name and version of the model that serves.
        from: String,
        /// Name and version of the model that does not.
        to: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is no model, or can't be read.
    #[error("{file} is not taken, and {from} goes on: {reason}")]
    Unreadable {
        /// Name and version of the model that serves.
        from: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no model before the present one, or it has been gone back to.
    #[error("there is no model to go back to; {current} goes on")]
    NoPredecessor {
        /// Name and version of the model that serves.
        current: String,
    },
    /// No model is a candidate.
    #[error("there is no candidate to put into service; {current} goes on")]
    NoCandidate {
        /// Name and version of the model that serves.
        current: String,
    },
}

impl<P: Predictor> ModelSlot<P> {
    /// A slot with this model, which is on no probation: nothing stands behind it.
    pub fn new(model: P) -> Self {
        let current = Arc::new(model);
        let serving = Serving { current, previous: None, on_probation: 0, patience: 0 };
        Self(Arc::new(Slot {
            serving: RwLock::new(serving),
            swapping: Mutex::default(),
            history: History::default(),
            check: None,
            probation: PROBATION,
            drift: None,
            candidate: RwLock::default(),
        }))
    }

    /// Has `check` compare the model in service with the one that is to follow it, after that was warmed
    /// up: whether it has the same classes, or answers its [`Golden`] samples.
    ///
    /// # Panics
    /// If the slot has been cloned before.
    #[must_use]
    pub fn with_check(
        mut self,
        check: impl Fn(&P, &P) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.unshared().check = Some(Box::new(check));
        self
    }

    /// Keeps a new model on probation for so many batches, 100 unless told otherwise: what it fails on is
    /// answered by the one before it, where that can, and the slot goes back to that one. A model that
    /// can't answer now fails when it was away for as many batches as that.
    ///
    /// # Panics
    /// As [`ModelSlot::with_check`].
    #[must_use]
    pub fn with_probation(mut self, batches: usize) -> Self {
        self.unshared().probation = batches;
        self
    }

    /// Compares what is answered with the baseline of the model in service, see [`Drift`].
    ///
    /// # Panics
    /// As [`ModelSlot::with_check`].
    #[must_use]
    pub fn with_drift(mut self, drift: Drift<P>) -> Self {
        self.unshared().drift = Some(drift);
        self
    }

    fn unshared(&mut self) -> &mut Slot<P> {
        Arc::get_mut(&mut self.0).expect("a slot is set up before it is cloned")
    }

    /// Warms `next` up, checks it and puts it into service: from the next batch on it answers. Returns the
    /// identity of the model before it, which is kept to be gone back to. Blocks for as long as the
    /// verification takes; batches go on.
    ///
    /// # Errors
    /// [`SwapError::Refused`]; the model in service goes on.
    pub fn swap(&self, next: P) -> Result<Arc<ModelIdentity>, SwapError> {
        let _one_at_a_time = self.0.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(Arc::new(next))
    }

    /// As [`ModelSlot::swap`], with what `load` makes of a file.
    ///
    /// # Errors
    /// [`SwapError::Unreadable`] and [`SwapError::Refused`]; the model in service goes on.
    pub fn swap_file(
        &self,
        path: &Path,
        load: impl FnOnce(&Path) -> Result<P, String>,
    ) -> Result<Arc<ModelIdentity>, SwapError> {
        let _one_at_a_time = self.0.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(Arc::new(self.read(path, load)?))
    }

    /// What `load` makes of a file; a refusal is remembered.
    fn read(
        &self,
        path: &Path,
        load: impl FnOnce(&Path) -> Result<P, String>,
    ) -> Result<P, SwapError> {
        shielded(|| load(path)).and_then(|loaded| loaded).map_err(|reason| {
            let (from, file) = (self.identity(), path.display().to_string());
            let error =
                SwapError::Unreadable { from: from.to_string(), file: file.clone(), reason };
            tracing::error!("{error}");
            self.0.history.next().add(from, None, ChangeKind::Refused(error.to_string()));
            error
        })
    }

    /// Whether `next` may follow the model in service; a refusal is remembered.
    fn admit(&self, next: &P) -> Result<(), SwapError> {
        let before = self.current();
        let verified = shielded(|| {
            next.warm_up().map_err(|error| error.to_string())?;
            self.0.check.as_ref().map_or(Ok(()), |check| check(&before, next))
        });
        verified.and_then(|verified| verified).map_err(|reason| {
            let (from, to) = (before.identity(), next.identity());
            let error = SwapError::Refused {
                from: from.to_string(),
                to: to.to_string(),
                reason: reason.clone(),
            };
            tracing::error!("{error}");
            self.0.history.next().add(from, Some(to), ChangeKind::Refused(reason));
            error
        })
    }

    /// Verifies the model and exchanges the pointer; for one caller at a time.
    fn put(&self, next: Arc<P>) -> Result<Arc<ModelIdentity>, SwapError> {
        self.admit(&next)?;
        let to = next.identity();
        fail_point!(BeforeSwap);
        // A model may be taken back before it is told that it serves.
        let history = self.0.history.next();
        // The model before last is freed after the lock: batches wait for that one, and not for it.
        let (before, _before_last) = {
            let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut serving.current, next);
            let is_proven = serving.on_probation == 0 || serving.previous.is_none();
            serving.on_probation = self.0.probation;
            serving.patience = self.0.probation;
            // One that is on probation itself is no predecessor to go back to.
            match is_proven {
                true => (Arc::clone(&before), serving.previous.replace(before)),
                false => (before, None),
            }
        };
        fail_point!(AfterSwap);
        let from = before.identity();
        tracing::info!(%from, %to, sha256 = to.sha256, "the model is exchanged");
        history.add(Arc::clone(&from), Some(to), ChangeKind::Swapped);
        Ok(from)
    }

    /// Puts the last good model before the present one into service again, by hand. Returns the identity
    /// of the one that served.
    ///
    /// # Errors
    /// [`SwapError::NoPredecessor`].
    pub fn roll_back(&self, reason: &str) -> Result<Arc<ModelIdentity>, SwapError> {
        let current = self.current();
        let from = current.identity();
        match self.go_back(&current, reason) {
            true => Ok(from),
            false => Err(SwapError::NoPredecessor { current: self.identity().to_string() }),
        }
    }

    /// The latest changes, the oldest first: swaps, refusals, rollbacks, with their reasons.
    pub fn changes_so_far(&self) -> Vec<Change> {
        self.0.history.changes()
    }

    /// Batches that the model in service still has to answer until its predecessor stands by no longer.
    pub fn on_probation(&self) -> usize {
        self.serving().on_probation
    }

    /// How far what is answered has moved from the baseline, where it is looked at.
    pub fn drift(&self) -> Option<&Drift<P>> {
        self.0.drift.as_ref()
    }

    /// The model that serves, for what is asked of it besides.
    pub fn current(&self) -> Arc<P> {
        Arc::clone(&self.serving().current)
    }

    /// Goes back from this model, if it still serves and there is one before it.
    fn go_back(&self, current: &Arc<P>, reason: &str) -> bool {
        let history = self.0.history.next();
        let to = {
            let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&serving.current, current) {
                return false;
            }
            let Some(previous) = serving.previous.take() else { return false };
            serving.current = previous;
            serving.on_probation = 0;
            serving.current.identity()
        };
        let from = current.identity();
        tracing::error!(%from, %to, reason, "the model is taken back");
        history.add(from, Some(to), ChangeKind::RolledBack(reason.to_owned()));
        fail_point!(AfterRollback);
        true
    }

    fn serving(&self) -> RwLockReadGuard<'_, Serving<P>> {
        // Nothing under the lock panics.
        self.0.serving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that this model answered a batch on probation.
    fn answered(&self, current: &Arc<P>) {
        let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&serving.current, current) {
            serving.on_probation = serving.on_probation.saturating_sub(1);
        }
    }

    /// Takes note that for a batch of this model's probation one of the two was away, for this reason;
    /// `false` once that has been so too often.
    fn bears(&self, current: &Arc<P>, reason: &PredictError) -> bool {
        let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&serving.current, current) {
            return true;
        }
        let is_first = serving.patience == self.0.probation;
        serving.patience = serving.patience.saturating_sub(1);
        let bears = serving.patience > 0;
        drop(serving);
        if is_first {
            tracing::warn!(%reason, "a model on probation, or the one before it, can't answer now");
        }
        bears
    }
}

impl<P: Predictor> Clone for ModelSlot<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Predictor> fmt::Debug for ModelSlot<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelSlot").field(&self.identity().to_string()).finish()
    }
}

impl<P: Predictor> Predictor for ModelSlot<P> {
    type Input = P::Input;
    type Output = P::Output;

    fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
        self.serve(batch).map(|served| served.outputs)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.serving().current.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.current().warm_up()
    }

    fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
        let candidate = self.candidate();
        let _busy = candidate.as_ref().map(|candidate| candidate.keep_off());
        let begun = Instant::now();
        let (served, model) = self.answer(batch)?;
        if let Some(candidate) = candidate {
            candidate.offer(batch, &served, begun.elapsed());
        }
        if let Some(drift) = &self.0.drift {
            drift.observe(&*model, batch, &served);
        }
        Ok(served)
    }
}

impl<P: Predictor> ModelSlot<P> {
    /// What is served, and by whom.
    fn answer(&self, batch: &[P::Input]) -> Result<(Served<P::Output>, Arc<P>), PredictError> {
        let (current, previous) = {
            let serving = self.serving();
            let previous = match serving.on_probation {
                0 => None,
                _ => serving.previous.clone(),
            };
            (Arc::clone(&serving.current), previous)
        };
        // Verified here, by the model that answered: another may serve by the time that anybody asks.
        let Some(previous) = previous else {
            return checked(&*current, batch).map(|served| (served, current));
        };
        let failure = match shielded(|| checked(&*current, batch)) {
            Ok(Ok(served)) => {
                self.answered(&current);
                return Ok((served, current));
            }
            Ok(Err(error)) => error,
            Err(panic) => PredictError::from(panic),
        };
        // An input at fault is at fault for both; then the new model is no worse than the old one.
        match shielded(|| checked(&*previous, batch)) {
            Ok(Ok(served)) => {
                // What has nothing to do with the input may pass by; the predecessor answers until then.
                let is_away = matches!(failure, PredictError::Unavailable { .. });
                if !(is_away && self.bears(&current, &failure)) {
                    self.go_back(&current, &failure.to_string());
                }
                Ok((served, previous))
            }
            // It may have the answer, and can't give it now.
            Ok(Err(away @ PredictError::Unavailable { .. })) if self.bears(&current, &away) => {
                Err(away)
            }
            Ok(Err(_)) | Err(_) => Err(failure),
        }
    }
}

/// What `f` returns, or what its panic says.
pub(crate) fn shielded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the model panicked: {}", said.unwrap_or_else(|| "without words".to_owned()))
    })
}
