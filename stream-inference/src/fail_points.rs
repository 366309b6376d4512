//! Places where a test ends the process, or the pipeline alone, to see what is delivered again.
//!
//! Only with the feature `fail-points`; without it, `fail_point!` is nothing at all.

use std::{panic, process, sync::Mutex};

use serde::{Deserialize, Serialize};

use crate::lock::Sound;

named! {
    /// A place on a message's way, in the order of the way.
    #[derive(PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum FailPoint {
        /// Messages were received, and nothing was done with them.
        AfterRecv = "after_recv",
        /// A batch was classified.
        AfterInfer = "after_infer",
        /// A sink confirmed results that were not published.
        AfterSink = "after_sink",
        /// The broker confirmed results or dead letters whose messages were not acknowledged.
        AfterPublish = "after_publish",
        /// An acknowledgement is about to be made.
        BeforeCommit = "before_commit",
        /// The broker, or the client on its behalf, has the acknowledgement.
        AfterCommit = "after_commit",
        /// Partitions are about to be given up.
        InRevoke = "in_revoke",
        /// The pipeline stops, with or without messages in flight.
        InDrain = "in_drain",
        /// A model was verified and does not serve yet.
        BeforeSwap = "before_swap",
        /// A model serves, and nobody was told.
        AfterSwap = "after_swap",
        /// The model before it serves again.
        AfterRollback = "after_rollback",
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
    *ARMED.lock().sound() = Some(Armed { point, spared, death });
}

/// Dies here if that is what was asked for. Use `fail_point!`.
pub fn pass(point: FailPoint) {
    let mut armed = ARMED.lock().sound();
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
