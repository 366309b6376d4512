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

mod config;
mod consumer;
mod courier;
mod ends;
mod error;
mod headers;
mod history;
mod keeper;
mod lag;
mod lanes;
mod log;
mod marks;
mod membership;
mod meters;
mod outbox;
mod outputs;
mod place;
mod publisher;
mod refusal;
mod results;
mod share;
mod shared;
mod topics;
mod transaction;
mod transactor;
mod transport;
mod wire;

pub use config::{KafkaConfig, KafkaGuarantee};
pub use error::KafkaSetupError;
pub use history::{
    KafkaHistory, KafkaRecord, KafkaSpan, KafkaStart, group_lag, set_group_start, topic_spans,
};
pub use publisher::KafkaPublisher;
pub use results::KafkaResults;
pub use topics::{TopicLayout, create_topics, missing_topics};
pub use transport::{KafkaToken, KafkaTransport};

/// What metrics and results call this transport.
const NAME: &str = "kafka";

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
