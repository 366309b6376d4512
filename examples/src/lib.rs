//! What the examples share: the old console, the start of a consumer, the demo's bound, replay.

mod backlog;
mod console;
mod replay;
mod start;
mod time_zone;

pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use replay::Replay;
pub use start::{Prepared, prepare, prepare_consumer, wait_for};
pub use time_zone::time_zone_from_env;
