//! Places where a test ends the process, or the pipeline alone, to see what is delivered again.
//!
//! Only with the feature `fail-points`; without it, `fail_point!` is nothing at all.

use std::{
    panic, process,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// A place on a message's way, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailPoint {
    /// Messages were received, and nothing was done with them.
    AfterRecv,
    /// A batch was classified.
    AfterInfer,
    /// A sink confirmed results that were not published.
    AfterSink,
    /// The broker confirmed results or dead letters whose messages were not acknowledged.
    AfterPublish,
    /// An acknowledgement is about to be made.
    BeforeCommit,
    /// The broker, or the client on its behalf, has the acknowledgement.
    AfterCommit,
    /// Partitions are about to be given up.
    InRevoke,
    /// The pipeline stops, with or without messages in flight.
    InDrain,
    /// A model was verified and does not serve yet.
    BeforeSwap,
    /// A model serves, and nobody was told.
    AfterSwap,
    /// The model before it serves again.
    AfterRollback,
}

impl FailPoint {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AfterRecv,
        Self::AfterInfer,
        Self::AfterSink,
        Self::AfterPublish,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::InRevoke,
        Self::InDrain,
        Self::BeforeSwap,
        Self::AfterSwap,
        Self::AfterRollback,
    ];

    /// Its name, such as `after_recv`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterRecv => "after_recv",
            Self::AfterInfer => "after_infer",
            Self::AfterSink => "after_sink",
            Self::AfterPublish => "after_publish",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::InRevoke => "in_revoke",
            Self::InDrain => "in_drain",
            Self::BeforeSwap => "before_swap",
            Self::AfterSwap => "after_swap",
            Self::AfterRollback => "after_rollback",
        }
    }
}

/// What ends at a fail point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process, without unwinding: nothing is flushed, committed or said.
    Process,
    /// The task that came by, by unwinding with the [`FailPoint`] as payload. For brokers that live
    /// in the process.
    Task,
}

struct Armed {
    point: FailPoint,
    /// How often it is passed before.
    spared: u32,
    death: Death,
}

impl Armed {
    /// The death that comes with this passage, if any.
    fn pass(&mut self, point: FailPoint) -> Option<Death> {
        if self.point != point {
            return None;
        }
        match self.spared.checked_sub(1) {
            Some(spared) => {
                self.spared = spared;
                None
            }
            None => Some(self.death),
        }
    }
}

static ARMED: Mutex<Option<Armed>> = Mutex::new(None);

/// Arms one point, and disarms any other: death comes when it is passed for the `hit`-th time,
/// from 1.
pub fn arm(point: FailPoint, hit: u32, death: Death) {
    let spared = hit.saturating_sub(1);
    *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Armed { point, spared, death });
}

/// Dies here if that is what was asked for. Use `fail_point!`.
pub fn pass(point: FailPoint) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    match armed.as_mut().and_then(|armed| armed.pass(point)) {
        None => {}
        Some(Death::Process) => process::abort(),
        Some(Death::Task) => {
            *armed = None;
            drop(armed);
            panic::resume_unwind(Box::new(point))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn death_comes_at_the_asked_for_passage_of_the_asked_for_point() {
        let mut armed = Armed { point: FailPoint::AfterSink, spared: 1, death: Death::Task };
        assert_eq!(armed.pass(FailPoint::AfterSink), None);
        assert_eq!(armed.pass(FailPoint::AfterInfer), None);
        assert_eq!(armed.pass(FailPoint::AfterSink), Some(Death::Task));
    }
}
