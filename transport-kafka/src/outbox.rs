//! Verdicts that were accepted and not yet carried out.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fmnist_core::transport::{Delivery, Outcome, Settlement, TransportError};
use tokio::sync::{Notify, oneshot};

use crate::KafkaToken;

pub(crate) type Verdicts = Vec<(Delivery<KafkaToken>, Outcome)>;
pub(crate) type Reply = oneshot::Sender<Result<Settlement, TransportError>>;

/// Verdicts that wait for the producer; bounded by what `recv` has handed out.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Verdicts, Reply)>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn push(&self, verdicts: Verdicts, reply: Reply) {
        self.queue().batches.push_back((verdicts, reply));
        self.changed.notify_one();
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
    pub(crate) async fn pop(&self) -> Option<(Verdicts, Reply)> {
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
    pub(crate) fn pop_waiting(&self, max_messages: usize) -> Option<(Verdicts, Reply)> {
        self.queue().batches.pop_front_if(|(verdicts, _)| verdicts.len() <= max_messages)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is a single call that cannot leave it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
