//! What does not take what is sent to it: said, and told to the pipeline's pulse, until it does.

use tokio::time::Instant;

use super::pending::Outage;
use crate::{connect::log::REPORT_INTERVAL, shared::Shared};

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
