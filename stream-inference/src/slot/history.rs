use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use metrics::{counter, describe_counter};

use crate::{names, pipeline::served_by, predict::ModelIdentity};

/// Changes that are remembered.
const REMEMBERED: usize = 32;

/// What became of the model in service, or was to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The model that served before.
    pub from: Arc<ModelIdentity>,
    /// The model that serves since; of a refusal, that was refused, where the file was a model at all.
    pub to: Option<Arc<ModelIdentity>>,
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

impl ChangeKind {
    /// `swapped`, `refused` or `rolled_back`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::Refused(_) => "refused",
            Self::RolledBack(_) => "rolled_back",
        }
    }

    /// Why, where anything was wrong.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Swapped => None,
            Self::Refused(reason) | Self::RolledBack(reason) => Some(reason),
        }
    }
}

/// The latest changes, the oldest first; counts all of them.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Change>>);

/// The history, held from before a change until it is told, see [`History::next`].
pub(super) struct Next<'a>(MutexGuard<'a, VecDeque<Change>>);

impl History {
    /// For the next change: others wait, and so all are told in the order in which they happen.
    pub(super) fn next(&self) -> Next<'_> {
        Next(self.locked())
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        self.locked().iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Change>> {
        // What is under the lock is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Next<'_> {
    pub(super) fn add(
        mut self,
        from: Arc<ModelIdentity>,
        to: Option<Arc<ModelIdentity>>,
        kind: ChangeKind,
    ) {
        count(kind.name(), 1);
        if let (Some(to), false) = (&to, matches!(kind, ChangeKind::Refused(_))) {
            served_by(&from).set(0);
            served_by(to).set(1);
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Change { at: Timestamp::now(), from, to, kind });
    }
}

/// Registers the series of a slot with the present recorder, so that each is there before anything changes.
pub fn describe() {
    describe_counter!(
        names::metric("model_changes_total"),
        "What became of models that were to serve: swapped, refused or rolled_back."
    );
    for kind in ["swapped", "refused", "rolled_back"] {
        count(kind, 0);
    }
    super::shadow::describe();
    crate::drift::describe();
}

fn count(kind: &'static str, changes: u64) {
    counter!(names::metric("model_changes_total"), "change" => kind).increment(changes);
}
