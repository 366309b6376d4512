//! Puts a model on a Google Pub/Sub subscription, by a pipeline of [`stream_inference`]: at least once, in
//! order within a key.
//!
//! A message is acknowledged only after its result, or its dead letter, was confirmed. In every
//! other case it is delivered again, and its result may appear twice with the same id. Pub/Sub's
//! exactly-once delivery is made use of where a subscription has it, but it ends at this consumer:
//! it does not cover what the consumer publishes, so no more than at least once is claimed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use stream_inference::transport::{Limits, Outcome, Transport};
//! use transport_pubsub::{PubSubConfig, PubSubTransport};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = PubSubConfig { project_id: "demo".into(), ..PubSubConfig::from_env()? };
//! let mut transport = PubSubTransport::connect(&config).await?;
//! let limits = Limits { max_messages: 256, max_bytes: 1 << 20, max_wait: Duration::ZERO };
//! let deliveries = transport.recv(limits).await?;
//! let batch = deliveries.into_iter().map(|delivery| (delivery, Outcome::Retry)).collect();
//! transport.settle(batch).await?;
//! transport.drain(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod claims;
mod config;
mod connect;
mod error;
mod intake;
mod meters;
mod provision;
mod publisher;
mod results;
mod settle;
mod token;
mod transport;
mod wire;

pub use config::{Emulator, PubSubConfig, PubSubGuarantee};
pub use error::PubSubError;
pub use provision::{
    create_missing, create_missing_within, missing_for_consumer, missing_for_reader,
};
pub use publisher::PubSubPublisher;
pub use results::PubSubResults;
pub use token::PubSubToken;
pub use transport::PubSubTransport;

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
