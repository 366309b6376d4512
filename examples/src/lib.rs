//! What the examples share: the old console, lines on stdout, the start of a consumer, the demo's bound,
//! backfill, replay.

mod backfill;
mod backlog;
mod console;
mod lines;
mod replay;
mod start;
mod time_zone;

pub use backfill::{Backfill, End};
pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use lines::{UNREAD, Unread, failed, print_line};
pub use replay::Replay;
pub use start::{
    ConsumerArguments, Prepared, ended, observe, prepare, prepare_consumer, wait_for, watch,
};
pub use time_zone::time_zone_from_env;
