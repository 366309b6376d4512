//! What became of models that were to serve: swaps, refusals and rollbacks, in the order in which they
//! happen. A slot holds the history from before a change until it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use metrics::counter;

use crate::{lock::Sound, names, pipeline::served_by, predict::ModelIdentity};

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

/// The latest changes, the oldest first; counts all of them.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Change>>);

/// The history, held from before a change until it is told, see [`History::next`].
pub(super) struct Next<'a>(MutexGuard<'a, VecDeque<Change>>);

impl History {
    /// For the next change: others wait, and so all are told in the order in which they happen.
    pub(super) fn next(&self) -> Next<'_> {
        Next(self.0.lock().sound())
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        self.0.lock().sound().iter().cloned().collect()
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

pub(super) fn describe() {
    names::describe_counter(
        "model_changes_total",
        "What became of models that were to serve: swapped, refused or rolled_back.",
    );
    for kind in ["swapped", "refused", "rolled_back"] {
        count(kind, 0);
    }
}

fn count(kind: &'static str, changes: u64) {
    counter!(names::metric("model_changes_total"), "change" => kind).increment(changes);
}
