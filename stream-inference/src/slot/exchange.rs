//! A slot: what a model goes through before it serves, while it serves, and when it is taken back. A batch
//! asks the lock for two pointers and is computed without it; who exchanges models waits for each other,
//! batches wait for nobody.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::Instant,
};

use super::{
    Change, ChangeKind, Shadow, ShadowReport, SwapError, history::History, serving::Serving,
    shadow::Candidate,
};
use crate::{
    drift::Drift,
    lock::Sound,
    predict::{ModelIdentity, PredictError, Predictor, Served, checked},
    shield::shielded,
};

/// Batches for which a new model is on probation, unless told otherwise.
const PROBATION: usize = 100;

/// Whether the second may follow the first: the reason why not.
type Check<P> = dyn Fn(&P, &P) -> Result<(), String> + Send + Sync;

/// A [`Predictor`] whose model can be exchanged. Clones are the same slot.
pub struct ModelSlot<P: Predictor>(pub(super) Arc<Slot<P>>);

pub(super) struct Slot<P: Predictor> {
    serving: RwLock<Serving<P>>,
    /// Held while a model is verified and put in, one after the other; a batch never waits for it.
    swapping: Mutex<()>,
    history: History,
    check: Option<Box<Check<P>>>,
    probation: usize,
    drift: Option<Drift<P>>,
    candidate: RwLock<Option<Arc<Candidate<P>>>>,
}

impl<P: Predictor> ModelSlot<P> {
    /// A slot with this model, which is on no probation: nothing stands behind it.
    pub fn new(model: P) -> Self {
        Self(Arc::new(Slot {
            serving: RwLock::new(Serving::new(model)),
            swapping: Mutex::default(),
            history: History::default(),
            check: None,
            probation: PROBATION,
            drift: None,
            candidate: RwLock::default(),
        }))
    }

    /// Has `check` compare the model in service with the one that is to follow it, after that was warmed
    /// up: whether it has the same classes, or answers its [`Golden`](super::Golden) samples.
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
        let _one_at_a_time = self.0.swapping.lock().sound();
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
        let _one_at_a_time = self.0.swapping.lock().sound();
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
        let (before, _before_last) = self.0.serving.write().sound().put(next, self.0.probation);
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
        if self.go_back(&current, reason) {
            return Ok(from);
        }
        Err(SwapError::NoPredecessor { current: self.identity().to_string() })
    }

    /// The latest changes, the oldest first: swaps, refusals, rollbacks, with their reasons.
    pub fn changes_so_far(&self) -> Vec<Change> {
        self.0.history.changes()
    }

    /// Batches that the model in service still has to answer until its predecessor stands by no longer.
    pub fn on_probation(&self) -> usize {
        self.0.serving.read().sound().on_probation()
    }

    /// How far what is answered has moved from the baseline, where it is looked at.
    pub fn drift(&self) -> Option<&Drift<P>> {
        self.0.drift.as_ref()
    }

    /// The model that serves, for what is asked of it besides.
    pub fn current(&self) -> Arc<P> {
        self.0.serving.read().sound().current()
    }

    /// Goes back from this model, if it still serves and there is one before it.
    fn go_back(&self, current: &Arc<P>, reason: &str) -> bool {
        let history = self.0.history.next();
        let Some(to) = self.0.serving.write().sound().go_back(current) else { return false };
        let to = to.identity();
        let from = current.identity();
        tracing::error!(%from, %to, reason, "the model is taken back");
        history.add(from, Some(to), ChangeKind::RolledBack(reason.to_owned()));
        fail_point!(AfterRollback);
        true
    }

    /// Takes note that for a batch of this model's probation one of the two was away, for this reason;
    /// `false` once that has been so too often.
    fn bears(&self, current: &Arc<P>, reason: &PredictError) -> bool {
        let (bears, is_first) = self.0.serving.write().sound().bears(current, self.0.probation);
        if is_first {
            tracing::warn!(%reason, "a model on probation, or the one before it, can't answer now");
        }
        bears
    }

    pub(super) fn candidate(&self) -> Option<Arc<Candidate<P>>> {
        self.0.candidate.read().sound().clone()
    }

    /// The candidate before it is dropped after the lock.
    fn set_candidate(&self, candidate: Option<Arc<Candidate<P>>>) {
        let _before = std::mem::replace(&mut *self.0.candidate.write().sound(), candidate);
    }
}

impl<P: Predictor<Input: Clone>> ModelSlot<P> {
    /// Has a candidate answer a share of the batches behind the model in service, on a thread of its own. It
    /// begins a piece of 32 inputs only while that one is idle, and publishes nothing. It is verified as by
    /// [`ModelSlot::swap`], and takes the place of the candidate before it.
    ///
    /// # Errors
    /// [`SwapError::Refused`].
    pub fn shadow(&self, candidate: P, shadow: Shadow<P>) -> Result<(), SwapError> {
        let _one_at_a_time = self.0.swapping.lock().sound();
        self.admit(&candidate)?;
        let (serving, identity) = (self.identity(), candidate.identity());
        tracing::info!(%serving, candidate = %identity, "a candidate is compared");
        self.set_candidate(Some(Arc::new(Candidate::start(candidate, shadow))));
        Ok(())
    }
}

impl<P: Predictor> ModelSlot<P> {
    /// How the candidate did so far, where there is one.
    pub fn shadow_report(&self) -> Option<ShadowReport<P::Input>> {
        self.candidate().map(|candidate| candidate.report())
    }

    /// Puts the candidate into service, verified once more. Returns the identity of the model before it.
    ///
    /// # Errors
    /// [`SwapError::NoCandidate`] and [`SwapError::Refused`].
    pub fn promote(&self) -> Result<Arc<ModelIdentity>, SwapError> {
        let _one_at_a_time = self.0.swapping.lock().sound();
        let none = || SwapError::NoCandidate { current: self.identity().to_string() };
        let candidate = self.candidate().ok_or_else(none)?;
        let before = self.put(candidate.model())?;
        self.set_candidate(None);
        Ok(before)
    }

    /// Compares no more.
    pub fn dismiss(&self) {
        self.set_candidate(None);
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
        self.current().identity()
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
        let (current, predecessor) = {
            let serving = self.0.serving.read().sound();
            (serving.current(), serving.predecessor())
        };
        // Verified here, by the model that answered: another may serve by the time that anybody asks.
        let Some(previous) = predecessor else {
            return checked(&*current, batch).map(|served| (served, current));
        };
        let failure = match shielded(|| checked(&*current, batch)) {
            Ok(Ok(served)) => {
                self.0.serving.write().sound().answered(&current);
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
