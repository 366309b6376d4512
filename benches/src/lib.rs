//! Tools of this project's benchmarks: loads, rounds that take turns, tables.
//!
//! Speed is proved as ratios in one run: the subjects of a table take turns, round after round, so
//! that a slow minute of the machine slows them all, and ratios are taken within a round. A cell is
//! the median over the rounds, with the least and the greatest behind it.

mod kafka;
mod load;
mod open_loop;
mod proc;
mod queue;
mod report;
mod rounds;

pub use kafka::Kafka;
pub use load::{Form, NoOp, Speed, drive};
pub use markdown::Table;
pub use open_loop::{Latencies, open_loop};
pub use proc::{broker, cpu_seconds, memory_bytes, tree};
pub use queue::{Server, fullest};
pub use report::{Report, grouped, machine};
pub use rounds::{Rounds, percentile};
