//! Batched, loss-free inference *inside* the program that reads the stream, for any model.
//!
//! | module | has |
//! |---|---|
//! | [`transport`] | the trait that a broker implements, and one in memory |
//! | [`audit`] | the proof afterwards that every message came to one end |
//!
//! # Features
//! - `conformance`: the suite that every transport passes
//! - `fail-points`: places where tests end the process
//! - `schema`: JSON Schemas of what is configured or travels
//! - `traces`: a span for each message that comes with a trace context
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audit;
#[cfg(feature = "fail-points")]
pub mod fail_points;
mod supervisor;
pub mod text;
pub mod transport;

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
