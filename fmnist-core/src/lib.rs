//! Tells ten kinds of clothes apart, in the calling process: pictures by hand, or straight from a stream of
//! messages.
//!
//! The model is part of the library: no model server, no file to find, no network.
//!
//! ```
//! use fmnist_core::{Classifier, Image};
//!
//! // A trouser as a child would draw it: two legs under a belt, bright on black.
//! let trouser = Image::from_fn(|row, column| {
//!     let belt = (3..9).contains(&row) && (9..19).contains(&column);
//!     let legs = (9..25).contains(&row) && matches!(column, 9..=12 | 15..=18);
//!     if belt || legs { 200 } else { 0 }
//! });
//!
//! let classifier = Classifier::pretrained()?;
//! let predictions = classifier.classify(&[trouser])?;
//! assert_eq!(classifier.labels()[predictions[0].class], "Trouser");
//! # Ok::<(), fmnist_core::ClassifyError>(())
//! ```
//!
//! | module | has |
//! |---|---|
//! | [`image`], [`label`], [`dataset`] | what goes in: 28×28 images, class names, Fashion-MNIST itself |
//! | [`model`], [`weights`], [`classifier`] | networks in Burn, their trained weights, and both behind one call |
//! | [`engine`] | the same networks, compiled for this processor: what computes by default |
//! | [`message`] | what travels through a broker, in and out |
//! | [`transport`] | the trait that a broker implements, and one in memory |
//! | [`pipeline`] | the loop from delivery to acknowledged result |
//! | [`batcher`] | one model for HTTP requests and pipelines together |
//! | [`audit`] | the proof afterwards that every message came to one end |
//!
//! # Features
//! - `base` (default): the weights of [`Classifier::pretrained`]
//! - `burn`: the networks as Burn's modules, [`model`]; what `flex` and `ndarray` compute
//! - `flex` (default): Burn's Flex engine, see [`Engine`]
//! - `notebook`: the weights of the old notebook's network, for `Classifier::open("notebook")`
//! - `tiny`: the weights of the smallest network, for `Classifier::open("tiny")`
//! - `ndarray`: Burn's NdArray engine, see [`Engine`]
//! - `schema`: JSON Schemas of what is configured or travels
//! - `traces`: a span for each message that comes with a trace context
//! - `conformance`: the suite that every transport passes
//! - `testing`: a model and results that a test makes up
//! - `fail-points`: places where tests end the process
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod classifier;
pub mod dataset;
pub mod engine;
pub mod image;
pub mod label;
pub mod message;
pub mod model;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod weights;

pub use classifier::{
    Classifier, ClassifierSlot, ClassifyError, Engine, Infer, ModelIdentity, Prediction,
};
pub use image::Image;
#[cfg(feature = "fail-points")]
pub use stream_inference::fail_points;
pub use stream_inference::predict::{PredictError, Predictor};
pub use stream_inference::{
    Batcher, Part, Supervisor, audit, batcher, codec, drift, fail_point, predict, settings, slot,
    transport,
};

/// The loop from delivery to acknowledged result, and what [`message::Requests`] is told in its
/// configuration.
pub mod pipeline {
    pub use stream_inference::pipeline::*;

    pub use crate::message::ResultsConfig;

    /// A result, and the images that it was found on.
    pub type Answered =
        stream_inference::pipeline::Answered<crate::message::ResultRecord, crate::Image>;
}

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
