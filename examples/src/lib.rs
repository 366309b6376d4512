//! What the examples share: the old console, the start of a consumer, the demo's bound.

mod backlog;
mod console;
mod start;

pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use start::{ConsumerArguments, Prepared, finish, log_to_stderr, prepare};
