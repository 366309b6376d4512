//! Runs a model of any kind on a stream of messages, inside the program that reads them: in batches, and
//! without losing one.
//!
//! You bring a function of a batch and say what your messages look like; this crate receives, batches,
//! answers, publishes and acknowledges, so that every message comes to exactly one end.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stream_inference::{
//!     codec::Json,
//!     pipeline::{Pipeline, PipelineConfig},
//!     predict::{ModelIdentity, PredictError, function},
//!     transport::{Outbound, memory::MemoryBroker},
//! };
//!
//! #[derive(Deserialize)]
//! struct Payment { amount: f32 }
//! #[derive(Serialize)]
//! struct Risk { score: f32 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = function(ModelIdentity::of_code("amounts", "1"), |batch: &[Payment]| {
//!     let score = |payment: &Payment| Risk { score: (payment.amount / 1_000.0).min(1.0) };
//!     Ok::<_, PredictError>(batch.iter().map(score).collect())
//! });
//! // In production `KafkaTransport` of transport-kafka, or `PubSubTransport` of transport-pubsub.
//! let broker = MemoryBroker::new("PAYMENTS");
//! broker.send(Outbound { payload: r#"{"amount": 250}"#.into(), ..Outbound::default() });
//! let codec = Json::<Payment, Risk>::enriching("risk");
//! let pipeline = Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default());
//! let settled = async {
//!     while broker.unsettled_messages() > 0 {
//!         tokio::task::yield_now().await;
//!     }
//! };
//! pipeline.run(settled).await?;
//! assert_eq!(broker.results()[0].payload, r#"{"amount": 250,"risk":{"score":0.25}}"#);
//! # Ok(())
//! # }
//! ```
//!
//! | module | has |
//! |---|---|
//! | [`predict`] | a model: a function of a batch |
//! | [`codec`] | a message format, both ways |
//! | [`pipeline`] | the loop from delivery to acknowledged result |
//! | [`batcher`] | one model for requests and pipelines together |
//! | [`transport`] | the trait that a broker implements, and one in memory |
//! | [`names`] | what metrics and headers are called |
//! | `testing` | what a model and a codec of your own are tested with |
//! | [`audit`] | the proof afterwards that every message came to one end |
//!
//! # Features
//! - `conformance`: the suite that every transport passes
//! - `fail-points`: places where tests end the process
//! - `schema`: JSON Schemas of what is configured or travels
//! - `testing`: what a model and a codec of your own are tested with
//! - `traces`: a span for each message that comes with a trace context
#![cfg_attr(docsrs, feature(doc_cfg))]

// Macros stand before the modules, which see them by that.

/// Declares an enum whose variants have names for people and programs: a variant, its name.
macro_rules! named {
    (
        $(#[$about:meta])+
        pub enum $Enum:ident { $($(#[$doc:meta])+ $Variant:ident = $name:literal,)+ }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Enum {
            $($(#[$doc])+ $Variant,)+
        }

        impl $Enum {
            /// All of them, in their order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$Variant),+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }
        }
    };
}

/// Passes a [`fail_points::FailPoint`], by its name.
#[cfg(feature = "fail-points")]
#[doc(hidden)]
#[macro_export]
macro_rules! fail_point {
    ($point:ident) => {
        $crate::fail_points::pass($crate::fail_points::FailPoint::$point)
    };
}

/// Nothing, without the feature `fail-points`.
#[cfg(not(feature = "fail-points"))]
#[doc(hidden)]
#[macro_export]
macro_rules! fail_point {
    ($point:ident) => {};
}

pub mod audit;
pub mod batcher;
pub mod codec;
pub mod drift;
#[cfg(feature = "fail-points")]
pub mod fail_points;
mod file;
mod lock;
pub mod names;
pub mod pipeline;
pub mod predict;
pub mod replay;
pub mod settings;
mod shield;
pub mod slot;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
#[cfg(test)]
mod toy;
pub mod transport;

pub use batcher::Batcher;
pub use file::sha256;
pub use supervisor::{Part, Supervisor};

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
