//! Which model serves, and which stands by while it is on probation: what a [`ModelSlot`](super::ModelSlot)
//! has under its lock. It verifies nothing, and says nothing: who calls it does.

use std::{mem, sync::Arc};

/// The model in service, and the one before it.
pub(super) struct Serving<P> {
    current: Arc<P>,
    previous: Option<Arc<P>>,
    /// Batches that the current model still has to answer before its predecessor stands by no longer.
    on_probation: usize,
    /// Batches on probation for which one of the two may yet be away before that is a failure.
    patience: usize,
}

impl<P> Serving<P> {
    /// This model, on no probation: nothing stands behind it.
    pub(super) fn new(model: P) -> Self {
        Self { current: Arc::new(model), previous: None, on_probation: 0, patience: 0 }
    }

    pub(super) fn current(&self) -> Arc<P> {
        Arc::clone(&self.current)
    }

    pub(super) const fn on_probation(&self) -> usize {
        self.on_probation
    }

    /// The one that stands by, while there is a probation.
    pub(super) fn predecessor(&self) -> Option<Arc<P>> {
        self.previous.clone().filter(|_| self.on_probation > 0)
    }

    /// Puts a model into service, on probation. Returns the one before it, and one that is kept no longer.
    pub(super) fn put(&mut self, next: Arc<P>, probation: usize) -> (Arc<P>, Option<Arc<P>>) {
        let before = mem::replace(&mut self.current, next);
        // One that is on probation itself is no predecessor to go back to.
        let is_proven = self.on_probation == 0 || self.previous.is_none();
        (self.on_probation, self.patience) = (probation, probation);
        let gone = if is_proven { self.previous.replace(Arc::clone(&before)) } else { None };
        (before, gone)
    }

    /// Goes back from this model, if it still serves and there is one before it, which is returned.
    pub(super) fn go_back(&mut self, from: &Arc<P>) -> Option<Arc<P>> {
        if !Arc::ptr_eq(&self.current, from) {
            return None;
        }
        self.current = self.previous.take()?;
        self.on_probation = 0;
        Some(self.current())
    }

    /// Takes note that this model answered a batch on probation.
    pub(super) fn answered(&mut self, model: &Arc<P>) {
        if Arc::ptr_eq(&self.current, model) {
            self.on_probation = self.on_probation.saturating_sub(1);
        }
    }

    /// Takes note that for a batch of this model's `probation` one of the two was away. Returns whether that
    /// can be borne, and whether it was so for the first time.
    pub(super) fn bears(&mut self, model: &Arc<P>, probation: usize) -> (bool, bool) {
        if !Arc::ptr_eq(&self.current, model) {
            return (true, false);
        }
        let is_first = self.patience == probation;
        self.patience = self.patience.saturating_sub(1);
        (self.patience > 0, is_first)
    }
}
