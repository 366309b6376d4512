//! What the tests of programs around models of one's own share: a program as its users start it, what is
//! on a topic, and a kill in mid-stream, which the audit's ledger judges.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod kill;
mod program;
mod reader;

pub use kill::killed_in_mid_stream;
pub use program::{Output, Program, get};
pub use reader::{PARTITIONS, Reader, id};
