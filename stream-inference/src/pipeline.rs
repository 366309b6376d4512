//! The loop that runs a model on a stream: receive, decode, batch by inputs, infer on its own thread, sink,
//! settle, drain.
//!
//! ```text
//! recv ─► decode thread ─► scheduler ─► inference thread ─► answers ─► sink ─► settle
//! ```
//!
//! Messages of one lane are settled in the lane's order, however their inputs were batched;
//! messages without a lane are settled as they are done.

mod config;
mod failures;
mod in_flight;
mod meters;
mod outcomes;
pub(crate) mod pace;
mod pulse;
mod report;
mod runner;
pub(crate) mod schedule;
#[cfg(test)]
mod simulation;
mod sink;
mod spans;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

pub use config::{BatchConfig, OnError, OnErrorAction, PipelineConfig};
pub(crate) use meters::served_by;
pub use pulse::{Pulse, Vitals, Waiting};
pub use report::{PipelineError, PipelineReport};
pub use runner::Pipeline;
pub use sink::{Answered, NoSink, Sink, SinkError};
