//! What the examples share: the old console, a consumer, the demo's bound, replay.

mod backlog;
mod console;
mod consume;
mod replay;
mod start;
mod time_zone;
mod toys;

pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use consume::Answering;
pub use replay::Replay;
use start::prepare_consumer;
pub use start::{Prepared, prepare};
pub use time_zone::time_zone_from_env;
pub use toys::Toys;
