//! What a [`MemoryBroker`](super::MemoryBroker) has under its lock: messages that wait, are leased, settled
//! and delivered again. A message leaves the log once it has its end; until then it is ready or leased, never
//! both.

use std::collections::{BTreeMap, BTreeSet};

use crate::transport::{
    DeadLetterForm, Delivery, Fate, Lane, Limits, Outbound, Outcome, Rejection,
};

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Messages that are not settled yet, in order of arrival.
    log: BTreeMap<usize, Stored>,
    sent: usize,
    /// Those of them that may be leased.
    ready: BTreeSet<usize>,
    leases: u64,
    pub(super) results: Vec<Outbound>,
    pub(super) dead_letters: Vec<Outbound>,
    pub(super) aborts: usize,
    pub(super) outages: usize,
    /// What a result or a dead letter may have, where there is a bound.
    pub(super) max_message_bytes: Option<usize>,
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

/// A message on its way to a consumer.
pub(super) struct Leased {
    pub(super) index: usize,
    pub(super) lease: u64,
    pub(super) attempt: u32,
    pub(super) lane: Option<Lane>,
    pub(super) message: Outbound,
}

impl Queue {
    /// Adds a message. Returns its index.
    pub(super) fn send(&mut self, message: Outbound) -> usize {
        let lane =
            message.key.as_ref().map(|key| Lane::Key(String::from_utf8_lossy(key).as_ref().into()));
        let index = self.sent;
        self.sent += 1;
        self.log.insert(index, Stored { message, lane, failures: 0, claim: Claim::None });
        self.ready.insert(index);
        index
    }

    /// Messages that may be leased.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// The indices of the messages that have no end yet.
    pub(super) fn unsettled(&self) -> impl ExactSizeIterator<Item = usize> {
        self.log.keys().copied()
    }

    /// Ends every lease.
    pub(super) fn expire(&mut self) {
        for (&index, stored) in &mut self.log {
            if let Claim::Leased(_) = stored.claim {
                stored.claim = Claim::None;
                stored.failures += 1;
                self.ready.insert(index);
            }
        }
    }

    /// Messages and bytes that wait, counted up to the limits.
    pub(super) fn fills(&self, limits: Limits) -> Fill {
        let mut bytes = 0;
        for (messages, index) in self.ready.iter().enumerate() {
            bytes += self.log.get(index).map_or(0, |stored| stored.message.size_bytes());
            if messages + 1 >= limits.max_messages || bytes >= limits.max_bytes {
                return Fill::Full;
            }
        }
        if self.ready.is_empty() { Fill::Empty } else { Fill::Some }
    }

    /// Leases what waits, within the limits.
    pub(super) fn lease(&mut self, limits: Limits) -> Vec<Leased> {
        let (mut leased, mut bytes) = (Vec::new(), 0);
        while let Some(&index) = self.ready.first() {
            let stored = self.log.get_mut(&index).expect("what is ready is in the log");
            bytes += stored.message.size_bytes();
            let fits = leased.len() < limits.max_messages && bytes <= limits.max_bytes;
            if !leased.is_empty() && !fits {
                break;
            }
            self.ready.remove(&index);
            self.leases += 1;
            stored.claim = Claim::Leased(self.leases);
            let (lane, message) = (stored.lane.clone(), stored.message.clone());
            let (lease, attempt) = (self.leases, stored.failures + 1);
            leased.push(Leased { index, lease, attempt, lane, message });
        }
        leased
    }

    /// Carries an outcome out, unless the lease is over; nothing of it if the settlement is to abort.
    pub(super) fn settle<T>(
        &mut self,
        (index, lease): (usize, u64),
        delivery: &Delivery<T>,
        outcome: Outcome,
        aborts: bool,
    ) -> Fate {
        match self.log.get(&index).map(|stored| stored.claim) {
            Some(Claim::Leased(current)) if current == lease => {}
            Some(Claim::PulledBack(current)) if current == lease => return Fate::Retried,
            _ => return Fate::Stale,
        }
        if aborts {
            self.pull_back(index);
            return Fate::Retried;
        }
        let outcome = self.publishable(outcome);
        let fate = outcome.fate();
        match outcome {
            Outcome::Retry => {
                self.fail(index);
                return fate;
            }
            Outcome::Publish(results) => self.results.extend(results),
            Outcome::Recorded | Outcome::Filtered => {}
            Outcome::Reject(rejection) => {
                let letter = self.dead_letter(delivery, &rejection);
                self.dead_letters.push(letter);
            }
        }
        self.log.remove(&index);
        fate
    }

    /// Takes back a message whose delivery was dropped; false where the lease was over.
    pub(super) fn take_back(&mut self, (index, lease): (usize, u64)) -> bool {
        let claim = self.log.get(&index).map(|stored| stored.claim);
        let is_leased = claim == Some(Claim::Leased(lease));
        if is_leased {
            self.fail(index);
        }
        is_leased
    }

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

    fn dead_letter<T>(&self, delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
        let mut form = DeadLetterForm::Whole;
        loop {
            let letter = form.letter(delivery, rejection);
            match form.smaller() {
                Some(smaller) if self.is_too_large(&letter) => form = smaller,
                _ => return letter,
            }
        }
    }

    /// As [`Queue::pull_back`], of a message that failed itself: its next attempt is a further one.
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
            if let Claim::Leased(lease) = stored.claim
                && stored.lane.as_ref() == Some(&lane)
            {
                stored.claim = Claim::PulledBack(lease);
                self.ready.insert(later);
            }
        }
    }
}

/// Takes one of so many faults, if any is left.
pub(super) fn take_one(faults: &mut usize) -> bool {
    let is_left = *faults > 0;
    *faults = faults.saturating_sub(1);
    is_left
}

/// How far what waits would fill the limits of a reception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Empty,
    Some,
    Full,
}
