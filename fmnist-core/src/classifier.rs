//! The classifier: images in, predictions out.

mod engine;
mod prediction;
mod slot;
#[cfg(test)]
mod tests;
mod trained;

pub use engine::{ClassifyError, Engine};
pub use prediction::{ModelIdentity, Prediction};
pub use slot::ClassifierSlot;
pub use trained::{Classifier, Infer};
