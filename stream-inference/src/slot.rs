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
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use jiff::Timestamp;

pub use golden::Golden;
pub use watch::Watch;

use crate::predict::{ModelIdentity, PredictError, Predictor, Served, checked};

/// Batches for which a new model is on probation, unless told otherwise.
const PROBATION: usize = 100;
/// Changes that are remembered.
const REMEMBERED: usize = 32;

/// Whether the second may follow the first: the reason why not.
type Check<P> = dyn Fn(&P, &P) -> Result<(), String> + Send + Sync;

/// A [`Predictor`] whose model can be exchanged. Clones are the same slot.
pub struct ModelSlot<P>(Arc<Slot<P>>);

struct Slot<P> {
    serving: RwLock<Serving<P>>,
    /// Held while a model is verified and put in, one after the other; a batch never waits for it.
    swapping: Mutex<()>,
    changes: Mutex<VecDeque<Change>>,
    check: Option<Box<Check<P>>>,
    probation: usize,
}

struct Serving<P> {
    current: Arc<P>,
    previous: Option<Arc<P>>,
    /// Batches that the current model still has to answer before its predecessor stands by no longer.
    on_probation: usize,
}

/// What became of the model in service, or was to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The model that served before.
    pub from: Arc<ModelIdentity>,
    /// The model that serves since; of a refusal, that was refused.
    pub to: Arc<ModelIdentity>,
    /// What happened.
    pub kind: ChangeKind,
}

/// See [`Change::kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was verified, and serves.
    Swapped,
    /// It was not taken, for this reason; the model before it goes on.
    Refused(String),
    /// The model before it serves again, for this reason.
    RolledBack(String),
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
    /// There was no model before the present one, or it has been gone back to.
    #[error("there is no model to go back to; {current} goes on")]
    NoPredecessor {
        /// Name and version of the model that serves.
        current: String,
    },
}

impl<P: Predictor> ModelSlot<P> {
    /// A slot with this model, which is on no probation: nothing stands behind it.
    pub fn new(model: P) -> Self {
        let current = Arc::new(model);
        let serving = Serving { current, previous: None, on_probation: 0 };
        Self(Arc::new(Slot {
            serving: RwLock::new(serving),
            swapping: Mutex::default(),
            changes: Mutex::default(),
            check: None,
            probation: PROBATION,
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
    /// answered by the one before it, where that can, and the slot goes back to that one.
    ///
    /// # Panics
    /// As [`ModelSlot::with_check`].
    #[must_use]
    pub fn with_probation(mut self, batches: usize) -> Self {
        self.unshared().probation = batches;
        self
    }

    fn unshared(&mut self) -> &mut Slot<P> {
        Arc::get_mut(&mut self.0).expect("a slot is set up before it is cloned")
    }

    /// Warms `next` up, checks it and puts it into service: from the next batch on it answers. Answers the
    /// identity of the model before it, which is kept to be gone back to. Blocks for as long as the verification takes; batches go on.
    ///
    /// # Errors
    /// [`SwapError::Refused`]; the model in service goes on.
    pub fn swap(&self, next: P) -> Result<Arc<ModelIdentity>, SwapError> {
        let _one_at_a_time = self.0.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, to) = (self.current(), next.identity());
        let verified = shielded(|| {
            next.warm_up().map_err(|error| error.to_string())?;
            self.0.check.as_ref().map_or(Ok(()), |check| check(&before, &next))
        });
        if let Err(reason) = verified.and_then(|verified| verified) {
            let from = before.identity();
            tracing::error!(from = %named(&from), to = %named(&to), reason, "the model is not taken");
            let error =
                SwapError::Refused { from: named(&from), to: named(&to), reason: reason.clone() };
            self.remember(from, to, ChangeKind::Refused(reason));
            return Err(error);
        }
        let next = Arc::new(next);
        // The model before last is freed after the lock: batches wait for that one, and not for it.
        let (before, _before_last) = {
            let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut serving.current, next);
            let is_proven = serving.on_probation == 0 || serving.previous.is_none();
            serving.on_probation = self.0.probation;
            // One that is on probation itself is no predecessor to go back to.
            match is_proven {
                true => (Arc::clone(&before), serving.previous.replace(before)),
                false => (before, None),
            }
        };
        let from = before.identity();
        tracing::info!(from = %named(&from), to = %named(&to), "the model is exchanged");
        self.remember(Arc::clone(&from), to, ChangeKind::Swapped);
        Ok(from)
    }

    /// Puts the last good model before the present one into service again, by hand. Answers the identity
    /// of the one that served.
    ///
    /// # Errors
    /// [`SwapError::NoPredecessor`].
    pub fn roll_back(&self, reason: &str) -> Result<Arc<ModelIdentity>, SwapError> {
        let current = self.current();
        let from = current.identity();
        match self.go_back(&current, reason) {
            true => Ok(from),
            false => Err(SwapError::NoPredecessor { current: named(&self.identity()) }),
        }
    }

    /// The latest changes, the oldest first: swaps, refusals, rollbacks, with their reasons.
    pub fn changes_so_far(&self) -> Vec<Change> {
        self.changes().iter().cloned().collect()
    }

    /// The model that serves, for what is asked of it besides.
    pub fn current(&self) -> Arc<P> {
        Arc::clone(&self.serving().current)
    }

    /// Goes back from this model, if it still serves and there is one before it.
    fn go_back(&self, current: &Arc<P>, reason: &str) -> bool {
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
        tracing::error!(from = %named(&from), to = %named(&to), reason, "the model is taken back");
        self.remember(from, to, ChangeKind::RolledBack(reason.to_owned()));
        true
    }

    fn remember(&self, from: Arc<ModelIdentity>, to: Arc<ModelIdentity>, kind: ChangeKind) {
        let mut changes = self.changes();
        if changes.len() == REMEMBERED {
            changes.pop_front();
        }
        changes.push_back(Change { at: Timestamp::now(), from, to, kind });
    }

    fn serving(&self) -> RwLockReadGuard<'_, Serving<P>> {
        // Nothing under the lock panics.
        self.0.serving.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        // Nothing under the lock panics.
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that this model answered a batch on probation.
    fn answered(&self, current: &Arc<P>) {
        let mut serving = self.0.serving.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&serving.current, current) {
            serving.on_probation = serving.on_probation.saturating_sub(1);
        }
    }
}

impl<P> Clone for ModelSlot<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Predictor> fmt::Debug for ModelSlot<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelSlot").field(&named(&self.identity())).finish()
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
        let (current, previous) = {
            let serving = self.serving();
            let previous = match serving.on_probation {
                0 => None,
                _ => serving.previous.clone(),
            };
            (Arc::clone(&serving.current), previous)
        };
        // Verified here, by the model that answered: another may serve by the time that anybody asks.
        let Some(previous) = previous else { return checked(&*current, batch) };
        let failure = match shielded(|| checked(&*current, batch)) {
            Ok(Ok(served)) => {
                self.answered(&current);
                return Ok(served);
            }
            Ok(Err(error)) => error,
            Err(panic) => PredictError::from(panic),
        };
        // An input at fault is at fault for both; then the new model is no worse than the old one.
        match shielded(|| checked(&*previous, batch)) {
            Ok(Ok(served)) => {
                // What has nothing to do with the input passes by; the predecessor answers until then.
                if !matches!(failure, PredictError::Unavailable { .. }) {
                    self.go_back(&current, &failure.to_string());
                }
                Ok(served)
            }
            Ok(Err(_)) | Err(_) => Err(failure),
        }
    }
}

/// What `f` answers, or what its panic says.
fn shielded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the model panicked: {}", said.unwrap_or_else(|| "without words".to_owned()))
    })
}

fn named(identity: &ModelIdentity) -> String {
    format!("{} {}", identity.name, identity.version)
}
