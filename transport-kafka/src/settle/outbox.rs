//! Outcomes that were accepted and not yet carried out.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stream_inference::transport::{Delivery, Outcome, Settlement, TransportError};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    shared::{Shared, until},
    token::KafkaToken,
};

pub(crate) type Outcomes = Vec<(Delivery<KafkaToken>, Outcome)>;
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

/// Outcomes that wait for the producer; bounded by what `recv` has handed out.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Outcomes, Reply)>,
    closed: bool,
}

impl Outbox {
    /// Drops the batch where nobody takes it out any more.
    pub(crate) fn push(&self, outcomes: Outcomes, reply: Reply) {
        let mut queue = self.queue();
        if queue.closed {
            // Not under the lock, as in `close`.
            drop(queue);
            return;
        }
        queue.batches.push_back((outcomes, reply));
        drop(queue);
        self.changed.notify_one();
    }

    /// Closes the outbox when it is dropped: for who takes the batches out, before it begins.
    pub(crate) fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    /// Drops what waits: its messages are delivered again.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut queue = self.queue();
            queue.closed = true;
            std::mem::take(&mut queue.batches)
        };
        // Tokens hand their messages back when they are dropped, which must not be under the lock.
        drop(dropped);
        self.changed.notify_one();
    }

    /// The next batch; `None` once the outbox is closed. For a single caller.
    pub(crate) async fn pop(&self) -> Option<(Outcomes, Reply)> {
        loop {
            {
                let mut queue = self.queue();
                if queue.closed {
                    return None;
                }
                if let Some(first) = queue.batches.pop_front() {
                    return Some(first);
                }
            }
            self.changed.notified().await;
        }
    }

    /// The next batch if one waits that has `max_messages` at most.
    pub(crate) fn pop_waiting(&self, max_messages: usize) -> Option<(Outcomes, Reply)> {
        self.queue().batches.pop_front_if(|(outcomes, _)| outcomes.len() <= max_messages)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is a single call that cannot leave it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Outbox::closing`].
pub(crate) struct Closing(Arc<Outbox>);

impl Deref for Closing {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.0
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
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
