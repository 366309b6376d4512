//! Outcomes that were accepted and not yet carried out.

use std::sync::Arc;

use stream_inference::transport::{Delivery, Outcome, Settlement, TransportError};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    shared::{Shared, until},
    token::KafkaToken,
};

/// Batches that wait at most. What `recv` has handed out is a bound far below it.
pub(crate) const BATCHES: usize = 1 << 20;

pub(crate) type Outcomes = Vec<(Delivery<KafkaToken>, Outcome)>;
/// The outcomes of one call, and who waits for their end. Dropped, its messages are delivered again.
pub(crate) type Batch = (Outcomes, Reply);
type Answer = Result<Settlement, TransportError>;

/// Where a settlement's answer goes. The settlement is pending until this is dropped, by whatever.
pub(crate) struct Reply {
    shared: Arc<Shared>,
    sender: Option<oneshot::Sender<Answer>>,
}

impl Reply {
    /// With where the answer comes out.
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, oneshot::Receiver<Answer>) {
        shared.settling();
        let (sender, answer) = oneshot::channel();
        (Self { shared, sender: Some(sender) }, answer)
    }

    pub(crate) fn send(mut self, answer: Answer) {
        if let Some(sender) = self.sender.take() {
            // Nobody waits for a settlement whose future was dropped.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.shared.settled();
    }
}

impl Shared {
    /// Counts a settlement as pending until [`Shared::settled`].
    fn settling(&self) {
        self.state().pending.settlements += 1;
    }

    /// Counts a settlement as answered.
    fn settled(&self) {
        self.state().pending.settlements -= 1;
        self.confirmed.notify_waiters();
        // What waits until nothing is in flight may come now.
        self.arrived.notify_waiters();
    }

    /// Waits until no settlement is pending; false if `deadline` comes first.
    pub(crate) async fn all_settled(&self, deadline: Instant) -> bool {
        until(&self.confirmed, deadline, || self.state().pending.settlements == 0).await
    }
}
