//! A model, as a pipeline sees it: a function of a batch.

mod adapters;
mod predictor;

pub use adapters::{Exclusive, Function, Split, exclusive, function};
pub(crate) use predictor::AnsweredBy;
pub use predictor::{ModelIdentity, PredictError, Predictor, Served, checked};
