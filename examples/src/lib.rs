//! What the examples share: the old console, a consumer, the demo's bound, replay.

mod backlog;
mod console;
mod consume;
mod replay;
mod start;
mod time_zone;
mod toys;

/// A message's parts are taken on one thread and freed on another, at which the system's allocator is slow:
/// out of a backlog on Kafka the pipeline moves a fifth more messages with this one (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use backlog::{Backlog, Bounded};
pub use console::Console;
pub use consume::Answering;
pub use replay::Replay;
use start::prepare_consumer;
pub use start::{Prepared, prepare};
pub use time_zone::time_zone_from_env;
pub use toys::Toys;
