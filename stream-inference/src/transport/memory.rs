//! A broker in memory: for tests, benchmarks, and programs that are their own producer.
//!
//! ```
//! use std::time::Duration;
//!
//! use stream_inference::transport::{Limits, Outbound, Publisher, Transport, memory::MemoryBroker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = MemoryBroker::new("INFERENCE");
//! let message = Outbound { payload: "hello".into(), ..Outbound::default() };
//! let id = broker.publisher().publish(message).await?;
//!
//! let limits = Limits { max_messages: 10, max_bytes: 1 << 20, max_wait: Duration::ZERO };
//! let deliveries = broker.consumer().recv(limits).await?;
//! assert_eq!(deliveries[0].id, id);
//! # Ok(())
//! # }
//! ```

mod queue;

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use super::{
    Capabilities, Delivery, Guarantee, Limits, Outbound, Outcome, PublishError, Publisher,
    Settlement, Source, Transport, TransportError,
};
use crate::lock::Sound;
use queue::{Fill, Leased, Queue, take_one};

/// One input queue, its results and its dead letters, with knobs for faults.
///
/// Messages with a key are ordered within it. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct MemoryBroker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    topic: Arc<str>,
    queue: Mutex<Queue>,
    arrived: Notify,
    held: watch::Sender<bool>,
}

/// While it lives, settlements are carried out but not confirmed.
#[derive(Debug)]
pub struct Hold(MemoryBroker);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.held.send_replace(false);
    }
}

impl MemoryBroker {
    /// An empty queue of that name; ids are `TOPIC/N`.
    pub fn new(topic: &str) -> Self {
        Self(Arc::new(Shared {
            topic: topic.into(),
            queue: Mutex::default(),
            arrived: Notify::new(),
            held: watch::Sender::new(false),
        }))
    }

    /// A consumer of the queue. Consumers share the messages.
    pub fn consumer(&self) -> MemoryTransport {
        MemoryTransport { broker: self.clone() }
    }

    /// A publisher to the queue.
    pub fn publisher(&self) -> MemoryPublisher {
        MemoryPublisher(self.clone())
    }

    /// Adds a message; returns its id.
    pub fn send(&self, message: Outbound) -> String {
        let index = self.0.queue.lock().sound().send(message);
        self.0.arrived.notify_waiters();
        self.id(index)
    }

    /// Every published result so far, in order, whatever its topic.
    pub fn results(&self) -> Vec<Outbound> {
        self.0.queue.lock().sound().results.clone()
    }

    /// Every dead letter so far, in order.
    pub fn dead_letters(&self) -> Vec<Outbound> {
        self.0.queue.lock().sound().dead_letters.clone()
    }

    /// Takes the results that were published since the last time, in order: a broker keeps them all else.
    pub fn take_results(&self) -> Vec<Outbound> {
        mem::take(&mut self.0.queue.lock().sound().results)
    }

    /// Takes the dead letters since the last time, in order.
    pub fn take_dead_letters(&self) -> Vec<Outbound> {
        mem::take(&mut self.0.queue.lock().sound().dead_letters)
    }

    /// Messages that are neither settled nor with a consumer.
    pub fn waiting_messages(&self) -> usize {
        self.0.queue.lock().sound().waiting()
    }

    /// Messages that are not settled yet, whether they wait or are with a consumer.
    pub fn unsettled_messages(&self) -> usize {
        self.0.queue.lock().sound().unsettled().len()
    }

    /// The ids of those.
    #[cfg(feature = "testing")]
    pub(crate) fn unsettled_ids(&self) -> std::collections::BTreeSet<String> {
        self.0.queue.lock().sound().unsettled().map(|index| self.id(index)).collect()
    }

    /// Makes the next `count` settlements fail as aborted; their messages are delivered again.
    pub fn abort_settlements(&self, count: usize) {
        self.0.queue.lock().sound().aborts = count;
    }

    /// Makes the next `count` receptions fail as unavailable.
    pub fn fail_receptions(&self, count: usize) {
        self.0.queue.lock().sound().outages = count;
    }

    /// Refuses results and dead letters above this many bytes, key and attributes counted.
    pub fn refuse_above(&self, max_message_bytes: usize) {
        self.0.queue.lock().sound().max_message_bytes = Some(max_message_bytes);
    }

    /// Ends every lease, as when a consumer was too slow: later outcomes are stale.
    pub fn expire_leases(&self) {
        self.0.queue.lock().sound().expire();
        self.0.arrived.notify_waiters();
    }

    /// Withholds confirmations until what it returns is dropped.
    pub fn hold_confirmations(&self) -> Hold {
        self.0.held.send_replace(true);
        Hold(self.clone())
    }

    fn id(&self, index: usize) -> String {
        format!("{}/{index}", self.0.topic)
    }

    fn lease(&self, limits: Limits) -> Vec<Delivery<MemoryToken>> {
        let leased = self.0.queue.lock().sound().lease(limits);
        let delivery = |Leased { index, lease, attempt, lane, message }| {
            let Outbound { key, attributes, payload, .. } = message;
            Delivery {
                id: self.id(index),
                source: Source {
                    transport: MemoryTransport::NAME.into(),
                    topic: Arc::clone(&self.0.topic),
                    partition: None,
                    offset: None,
                    message_id: Some(self.id(index)),
                },
                lane,
                attempt: Some(attempt),
                key,
                attributes,
                payload,
                token: MemoryToken { broker: self.clone(), lease: Some((index, lease)) },
            }
        };
        leased.into_iter().map(delivery).collect()
    }

    fn settle(&self, batch: Vec<(Delivery<MemoryToken>, Outcome)>) -> Option<Settlement> {
        let mut settlement = Settlement::default();
        let mut queue = self.0.queue.lock().sound();
        let aborts = take_one(&mut queue.aborts);
        for (mut delivery, outcome) in batch {
            let Some(claim) = delivery.token.lease.take() else { continue };
            settlement.count(queue.settle(claim, &delivery, outcome, aborts));
        }
        drop(queue);
        self.0.arrived.notify_waiters();
        (!aborts).then_some(settlement)
    }
}

/// Publishes to a [`MemoryBroker`]'s queue.
#[derive(Clone, Debug)]
pub struct MemoryPublisher(MemoryBroker);

impl Publisher for MemoryPublisher {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        Ok(self.0.send(message))
    }
}

/// A lease on one message; dropped unsettled, the message is delivered again.
#[derive(Debug)]
pub struct MemoryToken {
    broker: MemoryBroker,
    /// The message's index and the lease's number, once.
    lease: Option<(usize, u64)>,
}

impl Drop for MemoryToken {
    fn drop(&mut self) {
        let MemoryBroker(shared) = &self.broker;
        if let Some(claim) = self.lease.take()
            && shared.queue.lock().sound().take_back(claim)
        {
            shared.arrived.notify_waiters();
        }
    }
}

/// A consumer of a [`MemoryBroker`].
#[derive(Debug)]
pub struct MemoryTransport {
    broker: MemoryBroker,
}

impl Transport for MemoryTransport {
    type Token = MemoryToken;

    const NAME: &'static str = "memory";

    fn capabilities(&self) -> Capabilities {
        Capabilities { guarantee: Guarantee::AtLeastOnce, lanes: true, attempts: true }
    }

    /// Any: a result's topic stands in [`MemoryBroker::results`].
    fn has_route(&self, _topic: &str) -> bool {
        true
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        let MemoryBroker(shared) = &self.broker;
        if take_one(&mut shared.queue.lock().sound().outages) {
            let context = "the memory broker was told to be away".to_owned();
            return Err(TransportError::Unavailable { context, source: None });
        }
        // Nothing is leased before it is returned, so a dropped future loses nothing.
        let mut deadline = None;
        loop {
            let mut arrived = std::pin::pin!(shared.arrived.notified());
            arrived.as_mut().enable();
            let fill = shared.queue.lock().sound().fills(limits);
            let due = match (fill, deadline) {
                (Fill::Empty, _) => {
                    arrived.await;
                    false
                }
                (Fill::Some, None) => {
                    deadline = Some(Instant::now() + limits.max_wait);
                    limits.max_wait.is_zero()
                }
                (Fill::Some, Some(deadline)) => timeout_at(deadline, arrived).await.is_err(),
                (Fill::Full, _) => true,
            };
            // Another consumer may have been faster.
            let deliveries = if due { self.broker.lease(limits) } else { Vec::new() };
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        fail_point!(BeforeCommit);
        let settlement = self.broker.settle(batch);
        fail_point!(AfterCommit);
        let mut held = self.broker.0.held.subscribe();
        async move {
            // The broker outlives its receivers' interest: an error means that it is gone.
            let _ = held.wait_for(|held| !held).await;
            settlement.ok_or_else(|| {
                let context = "the memory broker was told to abort".to_owned();
                TransportError::Aborted { context, source: None }
            })
        }
    }

    async fn drain(self, _grace: Duration) -> Result<(), TransportError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transport::{Rejection, Stage};

    #[test]
    fn what_was_taken_is_not_there_the_next_time() {
        let broker = MemoryBroker::new("t");
        for payload in ["a", "b", "c"] {
            broker.send(Outbound { payload: payload.into(), ..Outbound::default() });
        }
        let limits = Limits { max_messages: 9, max_bytes: 9, max_wait: Duration::ZERO };
        let settle = |(delivery, n): (Delivery<MemoryToken>, usize)| match n {
            1 => (delivery, Outcome::Reject(Rejection::new(Stage::Decode, "b"))),
            _ => {
                let payload = delivery.payload.clone();
                (delivery, Outcome::Publish(vec![Outbound { payload, ..Outbound::default() }]))
            }
        };
        broker.settle(broker.lease(limits).into_iter().zip(0..).map(settle).collect());
        let payloads =
            |taken: Vec<Outbound>| taken.into_iter().map(|m| m.payload).collect::<Vec<_>>();
        assert_eq!(payloads(broker.take_results()), ["a", "c"]);
        assert_eq!(payloads(broker.take_dead_letters()), ["b"]);
        assert_eq!((broker.take_results(), broker.take_dead_letters()), (vec![], vec![]));
        assert_eq!((broker.results(), broker.dead_letters()), (vec![], vec![]));
    }
}
