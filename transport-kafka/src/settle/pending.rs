//! What is being settled: how many batches, whose messages are held, and what is waited for.

use std::collections::HashMap;

use stream_inference::pipeline::Waiting;
use tokio::time::Instant;

/// See the module.
#[derive(Default)]
pub(crate) struct Pending {
    /// Batches that were accepted and not answered.
    pub(crate) settlements: usize,
    /// Shares of batches that hold messages, or wait behind such, by partition.
    pub(crate) holds: HashMap<i32, usize>,
    /// What does not take what is sent to it.
    pub(crate) outage: Option<Outage>,
    /// When a full producer queue was last said.
    pub(crate) full: Option<Instant>,
}

/// Something outside that does not take what is sent to it.
pub(crate) struct Outage {
    pub(crate) what: String,
    /// When it was said last.
    pub(crate) told: Option<Instant>,
    /// Tells the pipeline's pulse as long as it is there.
    pub(crate) waiting: Option<Waiting>,
}
