//! Puts a model on a Kafka topic, by a pipeline of [`stream_inference`]: at least or exactly once, in order
//! within a partition.
//!
//! ```no_run
//! use stream_inference::{
//!     codec::Json,
//!     pipeline::{Pipeline, PipelineConfig},
//!     predict::{ModelIdentity, PredictError, function},
//! };
//! use transport_kafka::{KafkaConfig, KafkaTransport};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let model = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f64]| {
//!     Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
//! });
//! let transport = KafkaTransport::connect(&KafkaConfig::default()).await?;
//! let codec = Json::<f64, f64>::new();
//! let pipeline = Pipeline::new(transport, model, codec, PipelineConfig::default());
//! pipeline.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A task of its own polls the consumer, also while the model is busy. An offset is stored once
//! the results, or the dead letter, of every message up to it are confirmed, and committed every
//! second: after a crash no message is lost and those of the last second may be answered twice,
//! with the same id. With [`KafkaGuarantee::ExactlyOnce`], results, dead letters and offsets are
//! committed in one transaction, and a reader of committed messages sees each result once.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod claims;
mod config;
mod connect;
mod error;
mod group;
mod history;
mod intake;
mod marks;
mod meters;
mod place;
mod provision;
mod publisher;
mod results;
mod settle;
mod shared;
mod token;
mod transport;
mod wire;

pub use config::{KafkaConfig, KafkaGuarantee, KafkaOffsetReset};
pub use error::KafkaSetupError;
pub use history::{
    KafkaHistory, KafkaRecord, KafkaSpan, KafkaStart, group_lag, set_group_start, topic_spans,
};
pub use place::KafkaPlace;
pub use provision::{TopicLayout, create_missing, missing_for_consumer, missing_for_reader};
pub use publisher::KafkaPublisher;
pub use results::KafkaResults;
pub use token::KafkaToken;
pub use transport::KafkaTransport;

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
