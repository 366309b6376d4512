//! A broker in memory: for tests, benchmarks, and programs that are their own producer.
//!
//! ```
//! use std::time::Duration;
//!
//! use stream_inference::transport::{Limits, Outbound, Publisher, Transport, memory::MemoryBroker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = MemoryBroker::new("INFERENCE");
//! let message = Outbound { payload: "hello".into(), ..Outbound::default() };
//! let id = broker.publisher().publish(message).await?;
//!
//! let limits = Limits { max_messages: 10, max_bytes: 1 << 20, max_wait: Duration::ZERO };
//! let deliveries = broker.consumer().recv(limits).await?;
//! assert_eq!(deliveries[0].id, id);
//! # Ok(())
//! # }
//! ```

mod broker;
mod consumer;

pub use broker::{Hold, MemoryBroker, MemoryPublisher};
pub use consumer::{MemoryToken, MemoryTransport};
