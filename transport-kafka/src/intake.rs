//! What is received and not handed out yet: a buffer, with what decides over what comes out of it.
//!
//! The polling task puts in, the transport takes out, and a rebalance takes a partition away with all that
//! is known of it. Nothing is handed out of a partition whose consumer has to go back first.

pub(crate) mod ends;
pub(crate) mod poll;

use std::collections::{BTreeSet, HashMap, VecDeque};

use rdkafka::error::KafkaError;
use stream_inference::transport::{Crashes, Limits};

use crate::{
    claims::{Claim, Claims},
    marks::{Admission, Marks},
    wire::Fetched,
};
use ends::Ends;

/// The buffer takes no more above these, and is asked for more below half of them.
const BUFFERED_MESSAGES: usize = 10_000;
const BUFFERED_BYTES: usize = 8 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Intake {
    pub(crate) claims: Claims,
    pub(crate) marks: Marks,
    buffer: VecDeque<Fetched>,
    buffered_bytes: usize,
    /// Partitions that are not fetched from because the buffer was full.
    pub(crate) paused: BTreeSet<i32>,
    /// Where nothing more is received, if anywhere.
    pub(crate) ends: Option<Ends>,
    /// Why nothing comes for now, until it was told.
    pub(crate) unavailable: Option<KafkaError>,
}

/// A message on its way out, and the claim on it.
pub(crate) struct Taken {
    pub(crate) fetched: Fetched,
    pub(crate) claim: Claim,
    /// Which attempt at it this is, from 1.
    pub(crate) attempt: u32,
    /// Of a message that is in flight alone after an unclean end.
    pub(crate) crashes: Option<Crashes>,
}

/// How much there is to take.
pub(crate) enum Waiting {
    Nothing,
    Some,
    Enough,
}

impl Intake {
    /// Receives nothing from `ends` on, if there are any.
    pub(crate) fn until(ends: Option<Ends>) -> Self {
        Self { ends, ..Self::default() }
    }

    /// Puts a message in, if it is to be received.
    pub(crate) fn push(&mut self, fetched: Fetched) {
        // Asked also for what comes again: that it came is to be known.
        let is_read =
            self.ends.as_mut().is_none_or(|ends| ends.admits(fetched.partition, fetched.offset));
        if is_read && !self.claims.is_seeking(fetched.partition) {
            self.buffered_bytes += fetched.size_bytes();
            self.buffer.push_back(fetched);
        }
    }

    /// What there is to take, measured by `limits`.
    pub(crate) fn waiting(&mut self, limits: Limits) -> Waiting {
        if self.next_admitted().is_none() {
            return Waiting::Nothing;
        }
        // A buffer at its bound takes no more, whatever the limits.
        let is_enough = self.is_full()
            || self.buffer.len() >= limits.max_messages
            || self.buffered_bytes >= limits.max_bytes;
        if is_enough { Waiting::Enough } else { Waiting::Some }
    }

    /// Takes messages out, with a claim on each: within `limits`, or the first, or one that is to be alone.
    pub(crate) fn take(&mut self, limits: Limits) -> Vec<Taken> {
        let mut all = Vec::with_capacity(self.buffer.len().min(limits.max_messages));
        let mut bytes = 0;
        while let Some((fetched, is_alone)) = self.pop(|next| {
            all.is_empty()
                || (all.len() < limits.max_messages
                    && bytes + next.size_bytes() <= limits.max_bytes)
        }) {
            bytes += fetched.size_bytes();
            let (claim, attempt) = self.claims.receive(fetched.partition, fetched.offset);
            let crashes = if is_alone { self.marks.crashes() } else { None };
            all.push(Taken { fetched, claim, attempt, crashes });
            if is_alone {
                break;
            }
        }
        all
    }

    /// Takes the next message that is not about to be fetched again, with whether it is to be alone.
    fn pop(&mut self, accepts: impl Fn(&Fetched) -> bool) -> Option<(Fetched, bool)> {
        let (index, is_alone) = self.next_admitted()?;
        if !accepts(self.buffer.get(index)?) {
            return None;
        }
        let fetched = self.buffer.remove(index)?;
        self.buffered_bytes -= fetched.size_bytes();
        self.marks.handed_out(fetched.partition, fetched.offset);
        Some((fetched, is_alone))
    }

    /// Where the next message is that may be handed out, and whether by itself: the first one, or
    /// the first of those that were in flight when a consumer did not end well.
    fn next_admitted(&mut self) -> Option<(usize, bool)> {
        self.drop_superseded();
        let (mut index, mut is_idle) = (0, false);
        if self.marks.is_suspicious() {
            is_idle = self.claims.are_idle();
            let is_suspect = |fetched: &Fetched| {
                self.marks.is_suspect(fetched.partition, fetched.offset)
                    && !self.claims.is_seeking(fetched.partition)
            };
            index = self.buffer.iter().position(is_suspect).unwrap_or(0);
            if self.buffer.is_empty() && is_idle {
                self.marks.rest();
            }
        }
        let Fetched { partition, offset, .. } = *self.buffer.get(index)?;
        match self.marks.admit(partition, offset, is_idle) {
            Admission::Free => Some((index, false)),
            Admission::Alone => Some((index, true)),
            Admission::Wait => None,
        }
    }

    /// Drops messages at the front whose partition waits for the consumer to go back.
    fn drop_superseded(&mut self) {
        while let Some(first) = self.buffer.front() {
            if !self.claims.is_seeking(first.partition) {
                return;
            }
            self.buffered_bytes -= first.size_bytes();
            self.buffer.pop_front();
        }
    }

    /// The first message of each partition that was fetched and is not acknowledged.
    pub(crate) fn unacknowledged(&self) -> HashMap<i32, i64> {
        let mut first = self.claims.unacknowledged();
        for fetched in &self.buffer {
            first.entry(fetched.partition).or_insert(fetched.offset);
        }
        first
    }

    /// Takes note of a message that was in flight alone, if nothing is any more.
    pub(crate) fn rest(&mut self) {
        if self.marks.is_suspicious() && self.claims.are_idle() {
            self.marks.rest();
        }
    }

    /// Forgets a revoked partition.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.claims.revoke(partition);
        self.marks.revoke(partition);
        self.discard(partition);
        self.paused.remove(&partition);
        if let Some(ends) = &mut self.ends {
            ends.revoke(partition);
        }
    }

    /// Marks a message as done; see [`Claims::done`].
    pub(crate) fn done(&mut self, claim: Claim) -> Option<i64> {
        let mark = self.claims.done(claim);
        if let (Some(ends), Some(mark)) = (&mut self.ends, mark) {
            ends.done(claim.partition, mark);
        }
        mark
    }

    /// Drops what the buffer has of a partition.
    pub(crate) fn discard(&mut self, partition: i32) {
        self.buffer.retain(|fetched| fetched.partition != partition);
        self.buffered_bytes = self.buffer.iter().map(|fetched| fetched.size_bytes()).sum();
    }

    /// Whether the buffer takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.is_above(1)
    }

    /// Whether the buffer is to be asked for no more yet.
    pub(crate) fn is_half_full(&self) -> bool {
        self.is_above(2)
    }

    fn is_above(&self, share: usize) -> bool {
        self.buffer.len() > BUFFERED_MESSAGES / share
            || self.buffered_bytes > BUFFERED_BYTES / share
    }
}
