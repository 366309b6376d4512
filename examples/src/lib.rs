//! What the examples share: the old console, lines on stdout, the start of a consumer, the demo's bound,
//! backfill, replay.

mod backfill;
mod backlog;
mod console;
mod lines;
mod replay;
mod start;

pub use backfill::{Backfill, End};
pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use lines::{UNREAD, Unread, failed, print_line};
pub use replay::Replay;
pub use start::{ConsumerArguments, Prepared, finish, observe, prepare, prepare_consumer, watch};
