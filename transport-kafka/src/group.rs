//! This consumer's place in its group, and the transaction that it commits offsets for.
//!
//! One lock holds this beside what is received: whether a claim still counts, and for which member its
//! offset is committed, are looked at together.

pub(crate) mod membership;
pub(crate) mod rebalance;
pub(crate) mod start;

use std::sync::Arc;

use rdkafka::{
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
};
use stream_inference::pipeline::Pulse;

/// See the module.
#[derive(Default)]
pub(crate) struct Group {
    /// Whom transactions commit offsets for, as of the last assignment; none between a revocation
    /// and the next assignment.
    pub(crate) member: Option<Arc<ConsumerGroupMetadata>>,
    /// The number of the last transaction that was opened.
    pub(crate) transaction: u64,
    /// Whether that is neither committed nor aborted yet.
    pub(crate) in_transaction: bool,
    /// Transactions that are to be aborted instead of committed.
    pub(crate) aborts: usize,
    pub(crate) is_closing: bool,
    /// Whom to tell of the place in the group.
    pub(crate) pulse: Option<Pulse>,
}

/// Whether the broker refused a commit because of who the group's members are: others than who commits, or
/// not yet known.
fn is_refused_by_group(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::RebalanceInProgress
                | Code::StaleMemberEpoch
        )
    )
}
