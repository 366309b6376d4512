//! How outcomes are carried out: published, confirmed, acknowledged, in this order.
//!
//! One of the two promises at a time: [`at_least_once`] sends what it can and stores offsets as reports come
//! in; [`exactly_once`] puts results, dead letters and offsets into one transaction. Both take batches out of
//! the [`outbox`] in call order.

pub(crate) mod at_least_once;
pub(crate) mod exactly_once;
mod outage;
pub(crate) mod outbox;
pub(crate) mod outputs;
pub(crate) mod pending;
mod refusal;
