//! Batched, loss-free inference *inside* the program that reads the stream, for any model.
//!
//! | module | has |
//! |---|---|
//! | [`predict`] | a model: a function of a batch |
//! | [`codec`] | a message format, both ways |
//! | [`pipeline`] | the loop from delivery to acknowledged result |
//! | [`batcher`] | one model for requests and pipelines together |
//! | [`transport`] | the trait that a broker implements, and one in memory |
//! | [`names`] | what metrics and headers are called |
//! | [`audit`] | the proof afterwards that every message came to one end |
//!
//! # Features
//! - `conformance`: the suite that every transport passes
//! - `fail-points`: places where tests end the process
//! - `schema`: JSON Schemas of what is configured or travels
//! - `traces`: a span for each message that comes with a trace context
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audit;
pub mod batcher;
pub mod codec;
#[cfg(feature = "fail-points")]
pub mod fail_points;
pub mod names;
pub mod pipeline;
pub mod predict;
mod supervisor;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transport;

pub use batcher::Batcher;
use sha2::{Digest, Sha256};
pub use supervisor::{Part, Supervisor};

/// SHA-256 of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
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
