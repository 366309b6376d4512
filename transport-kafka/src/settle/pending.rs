//! What is being settled: how many batches, whose messages are held, and what is waited for. That is said, and
//! told to the pipeline's pulse, until it takes what is sent to it.

use std::collections::HashMap;

use stream_inference::pipeline::Waiting;
use tokio::time::Instant;

use crate::{connect::log::REPORT_INTERVAL, shared::Shared};

/// See the module.
#[derive(Default)]
pub(crate) struct Pending {
    /// Batches that were accepted and not answered.
    pub(crate) settlements: usize,
    /// Shares of batches that hold messages, or wait behind such, by partition.
    pub(crate) holds: HashMap<i32, usize>,
    /// What does not take what is sent to it.
    outage: Option<Outage>,
    /// When a full producer queue was last said.
    full: Option<Instant>,
}

/// Something outside that does not take what is sent to it.
struct Outage {
    what: String,
    /// When it was said last.
    told: Option<Instant>,
    /// Tells the pipeline's pulse as long as it is there.
    waiting: Option<Waiting>,
}

impl Shared {
    /// Says that `what` does not take what is sent to it, and so messages are held.
    pub(super) fn waits_for(&self, what: String, error: &(dyn std::error::Error + 'static)) {
        let mut state = self.state();
        let known = state.pending.outage.take().filter(|outage| outage.what == what);
        let (mut told, waiting) = match known {
            Some(Outage { told, waiting, .. }) => (told, waiting),
            None => (None, state.group.pulse.as_ref().map(|pulse| pulse.waits_for(&what))),
        };
        if told.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            told = Some(Instant::now());
            tracing::warn!(
                error,
                "waiting for {what}; what it did not take is held and sent again"
            );
        }
        state.pending.outage = Some(Outage { what, told, waiting });
    }

    /// Says that nothing is waited for any more.
    pub(super) fn resumed(&self) {
        if let Some(Outage { what, .. }) = self.state().pending.outage.take() {
            tracing::info!("{what} is not waited for any more");
        }
    }

    /// Says that a result waits for room in the producer's queue.
    pub(super) fn queue_full(&self) {
        self.meters.queue_full.increment(1);
        let mut state = self.state();
        if state.pending.full.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            state.pending.full = Some(Instant::now());
            tracing::warn!(
                topic = &*self.topic,
                "the producer's queue is full: results wait until Kafka confirms earlier ones"
            );
        }
    }
}
