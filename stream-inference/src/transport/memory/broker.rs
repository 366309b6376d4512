use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::MemoryTransport;
use crate::transport::{
    DeadLetterForm, Delivery, Lane, Limits, Outbound, Outcome, PublishError, Publisher, Rejection,
    Settlement, Source, Transport, memory::MemoryToken,
};

/// One input queue, its results and its dead letters, with knobs for faults.
///
/// Messages with a key are ordered within it. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct MemoryBroker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    topic: Arc<str>,
    state: Mutex<State>,
    arrived: Notify,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Messages that are not settled yet, in order of arrival.
    log: BTreeMap<usize, Stored>,
    sent: usize,
    /// Those of them that may be leased.
    ready: BTreeSet<usize>,
    leases: u64,
    results: Vec<Outbound>,
    dead_letters: Vec<Outbound>,
    aborts: usize,
    outages: usize,
    /// What a result or a dead letter may have, where there is a bound.
    max_message_bytes: Option<usize>,
}

#[derive(Debug)]
struct Stored {
    message: Outbound,
    lane: Option<Lane>,
    /// How often it was handed back by itself, and not for an earlier one of its lane.
    failures: u32,
    claim: Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    None,
    Leased(u64),
    /// The lease ended because an earlier message of the lane is delivered again.
    PulledBack(u64),
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
            state: Mutex::default(),
            arrived: Notify::new(),
            held: watch::Sender::new(false),
        }))
    }

    /// A consumer of the queue. Consumers share the messages.
    pub fn consumer(&self) -> MemoryTransport {
        MemoryTransport::new(self.clone())
    }

    /// A publisher to the queue.
    pub fn publisher(&self) -> MemoryPublisher {
        MemoryPublisher(self.clone())
    }

    /// Adds a message; answers its id.
    pub fn send(&self, message: Outbound) -> String {
        let lane =
            message.key.as_ref().map(|key| Lane::Key(String::from_utf8_lossy(key).as_ref().into()));
        let mut state = self.state();
        let index = state.sent;
        state.sent += 1;
        state.log.insert(index, Stored { message, lane, failures: 0, claim: Claim::None });
        state.ready.insert(index);
        drop(state);
        self.0.arrived.notify_waiters();
        self.id(index)
    }

    /// Every published result so far, in order, whatever its topic.
    pub fn results(&self) -> Vec<Outbound> {
        self.state().results.clone()
    }

    /// Every dead letter so far, in order.
    pub fn dead_letters(&self) -> Vec<Outbound> {
        self.state().dead_letters.clone()
    }

    /// Takes the results that were published since the last time, in order: a broker keeps them all else.
    pub fn take_results(&self) -> Vec<Outbound> {
        mem::take(&mut self.state().results)
    }

    /// Takes the dead letters since the last time, in order.
    pub fn take_dead_letters(&self) -> Vec<Outbound> {
        mem::take(&mut self.state().dead_letters)
    }

    /// Messages that are neither settled nor with a consumer.
    pub fn waiting_messages(&self) -> usize {
        self.state().ready.len()
    }

    /// Messages that are not settled yet, whether they wait or are with a consumer.
    pub fn unsettled_messages(&self) -> usize {
        self.state().log.len()
    }

    /// The ids of those.
    #[cfg(feature = "testing")]
    pub(crate) fn unsettled_ids(&self) -> BTreeSet<String> {
        self.state().log.keys().map(|index| self.id(*index)).collect()
    }

    /// Makes the next `count` settlements fail as aborted; their messages are delivered again.
    pub fn abort_settlements(&self, count: usize) {
        self.state().aborts = count;
    }

    /// Makes the next `count` receptions fail as unavailable.
    pub fn fail_receptions(&self, count: usize) {
        self.state().outages = count;
    }

    /// Refuses results and dead letters above this many bytes, key and attributes counted.
    pub fn refuse_above(&self, max_message_bytes: usize) {
        self.state().max_message_bytes = Some(max_message_bytes);
    }

    /// Ends every lease, as when a consumer was too slow: later outcomes are stale.
    pub fn expire_leases(&self) {
        let mut guard = self.state();
        let State { log, ready, .. } = &mut *guard;
        for (&index, stored) in log {
            if let Claim::Leased(_) = stored.claim {
                stored.claim = Claim::None;
                stored.failures += 1;
                ready.insert(index);
            }
        }
        drop(guard);
        self.0.arrived.notify_waiters();
    }

    /// Withholds confirmations until the answer is dropped.
    pub fn hold_confirmations(&self) -> Hold {
        self.0.held.send_replace(true);
        Hold(self.clone())
    }

    pub(super) fn held(&self) -> watch::Receiver<bool> {
        self.0.held.subscribe()
    }

    pub(super) fn arrived(&self) -> &Notify {
        &self.0.arrived
    }

    pub(super) fn take_outage(&self) -> bool {
        let mut state = self.state();
        let outage = state.outages > 0;
        state.outages = state.outages.saturating_sub(1);
        outage
    }

    /// Messages and bytes that wait, counted up to the limits.
    pub(super) fn fills(&self, limits: Limits) -> Fill {
        let state = self.state();
        let mut bytes = 0;
        for (messages, &index) in state.ready.iter().enumerate() {
            bytes += state.log.get(&index).map_or(0, |stored| stored.message.size_bytes());
            if messages + 1 >= limits.max_messages || bytes >= limits.max_bytes {
                return Fill::Full;
            }
        }
        if state.ready.is_empty() { Fill::Empty } else { Fill::Some }
    }

    pub(super) fn lease(&self, limits: Limits) -> Vec<Delivery<MemoryToken>> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        let mut guard = self.state();
        let State { log, ready, leases, .. } = &mut *guard;
        while let Some(&index) = ready.first() {
            let stored = log.get_mut(&index).expect("what is ready is in the log");
            bytes += stored.message.size_bytes();
            let fits = deliveries.len() < limits.max_messages && bytes <= limits.max_bytes;
            if !deliveries.is_empty() && !fits {
                break;
            }
            ready.remove(&index);
            *leases += 1;
            let lease = *leases;
            stored.claim = Claim::Leased(lease);
            let Outbound { key, attributes, payload, .. } = stored.message.clone();
            deliveries.push(Delivery {
                id: self.id(index),
                source: Source {
                    transport: MemoryTransport::NAME.into(),
                    topic: Arc::clone(&self.0.topic),
                    partition: None,
                    offset: None,
                    message_id: Some(self.id(index)),
                },
                lane: stored.lane.clone(),
                attempt: Some(stored.failures + 1),
                key,
                attributes,
                payload,
                token: MemoryToken::new(self.clone(), index, lease),
            });
        }
        deliveries
    }

    pub(super) fn settle(
        &self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> Option<Settlement> {
        let mut settlement = Settlement::default();
        let mut state = self.state();
        let abort = state.aborts > 0;
        state.aborts = state.aborts.saturating_sub(1);
        for (mut delivery, outcome) in batch {
            let Some((index, lease)) = delivery.token.take() else { continue };
            let outcome = if abort { Outcome::Retry } else { outcome };
            match state.log.get(&index).map(|stored| stored.claim) {
                Some(Claim::Leased(current)) if current == lease => {}
                Some(Claim::PulledBack(current)) if current == lease => {
                    settlement.retried += 1;
                    continue;
                }
                _ => {
                    settlement.stale += 1;
                    continue;
                }
            }
            match state.publishable(outcome) {
                Outcome::Retry => {
                    match abort {
                        true => state.pull_back(index),
                        false => state.fail(index),
                    }
                    settlement.retried += 1;
                    continue;
                }
                Outcome::Publish(results) => {
                    state.results.extend(results);
                    settlement.published += 1;
                }
                Outcome::Recorded => settlement.recorded += 1,
                Outcome::Filtered => settlement.filtered += 1,
                Outcome::Reject(rejection) => {
                    let letter = state.dead_letter(&delivery, &rejection);
                    state.dead_letters.push(letter);
                    settlement.rejected += 1;
                }
            }
            state.log.remove(&index);
        }
        drop(state);
        self.0.arrived.notify_waiters();
        (!abort).then_some(settlement)
    }

    /// Takes back a message whose delivery was dropped.
    pub(super) fn take_back(&self, index: usize, lease: u64) {
        let mut state = self.state();
        let claim = state.log.get(&index).map(|stored| stored.claim);
        if claim == Some(Claim::Leased(lease)) {
            state.fail(index);
            drop(state);
            self.0.arrived.notify_waiters();
        }
    }

    fn id(&self, index: usize) -> String {
        format!("{}/{index}", self.0.topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_too_large(&self, message: &Outbound) -> bool {
        self.max_message_bytes.is_some_and(|max_bytes| message.size_bytes() > max_bytes)
    }

    /// The outcome, or a rejection where the result is too large.
    fn publishable(&self, outcome: Outcome) -> Outcome {
        let Outcome::Publish(results) = &outcome else { return outcome };
        match results.iter().find(|result| self.is_too_large(result)) {
            Some(large) => Outcome::Reject(Rejection::unpublishable(large.size_bytes())),
            None => outcome,
        }
    }

    fn dead_letter(&self, delivery: &Delivery<MemoryToken>, rejection: &Rejection) -> Outbound {
        let mut form = DeadLetterForm::Whole;
        loop {
            let letter = form.letter(delivery, rejection);
            match form.smaller() {
                Some(smaller) if self.is_too_large(&letter) => form = smaller,
                _ => return letter,
            }
        }
    }

    /// As [`State::pull_back`], of a message that failed itself: its next attempt is a further one.
    fn fail(&mut self, index: usize) {
        if let Some(stored) = self.log.get_mut(&index) {
            stored.failures += 1;
        }
        self.pull_back(index);
    }

    /// Delivers a message again, and after it every leased later one of its lane.
    fn pull_back(&mut self, index: usize) {
        let Some(first) = self.log.get_mut(&index) else { return };
        first.claim = Claim::None;
        self.ready.insert(index);
        let Some(lane) = first.lane.clone() else { return };
        for (&later, stored) in self.log.range_mut(index + 1..) {
            if let (Claim::Leased(lease), Some(true)) =
                (stored.claim, stored.lane.as_ref().map(|l| *l == lane))
            {
                stored.claim = Claim::PulledBack(lease);
                self.ready.insert(later);
            }
        }
    }
}

/// How far what waits would fill the limits of a reception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Empty,
    Some,
    Full,
}

/// Publishes to a [`MemoryBroker`]'s queue.
#[derive(Clone, Debug)]
pub struct MemoryPublisher(MemoryBroker);

impl Publisher for MemoryPublisher {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        Ok(self.0.send(message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transport::Stage;

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
