//! This consumer's place in its group, and the transaction that it commits offsets for.
//!
//! One lock holds this beside what is received: whether a claim still counts, and for which member its
//! offset is committed, are looked at together.

pub(crate) mod membership;
pub(crate) mod rebalance;
pub(crate) mod start;

use std::sync::Arc;

use rdkafka::consumer::ConsumerGroupMetadata;
use stream_inference::pipeline::Pulse;

/// See the module.
#[derive(Default)]
pub(crate) struct Group {
    /// Whom transactions commit offsets for, as of the last assignment; none between a revocation
    /// and the next assignment.
    pub(crate) member: Option<Arc<ConsumerGroupMetadata>>,
    /// The open transaction's number.
    transaction: Option<u64>,
    /// That of the last one that was opened.
    last_transaction: u64,
    /// Transactions that are to be aborted instead of committed.
    pub(crate) aborts: usize,
    pub(crate) is_closing: bool,
    /// Whom to tell of the place in the group.
    pub(crate) pulse: Option<Pulse>,
}

impl Group {
    /// Opens the next transaction.
    pub(crate) fn open_transaction(&mut self) {
        self.last_transaction += 1;
        self.transaction = Some(self.last_transaction);
    }

    /// Ends the open transaction, however.
    pub(crate) fn end_transaction(&mut self) {
        self.transaction = None;
    }

    /// The number of the open transaction.
    pub(crate) const fn transaction(&self) -> Option<u64> {
        self.transaction
    }

    /// Whether the transaction that would commit now is to be aborted.
    pub(crate) fn take_abort(&mut self) -> bool {
        let is_asked = self.aborts > 0;
        self.aborts = self.aborts.saturating_sub(1);
        is_asked
    }
}
