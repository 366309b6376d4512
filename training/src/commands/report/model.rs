//! What is said of one model.

use anyhow::Result;
use fmnist_core::{
    Classifier,
    label::LABELS,
    weights::{Score, Weights},
};

use super::cost::Cost;

#[derive(Debug, serde::Serialize)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) sha256: String,
    #[serde(flatten)]
    pub(super) cost: Cost,
    /// On the official test set; `None` where it was not measured or the classes are others.
    pub(super) score: Option<Score>,
    /// On held-out training images, 0.0–1.0.
    pub(super) held_out_accuracy: Option<f64>,
}

impl Model {
    pub(super) fn of(classifier: &Classifier, weights: &Weights) -> Result<Self> {
        let identity = classifier.identity();
        let official = weights.metadata.classes == LABELS;
        Ok(Self {
            name: identity.name.clone(),
            version: identity.version.clone(),
            sha256: identity.sha256.clone(),
            cost: Cost::of(weights)?,
            score: weights.metadata.score.filter(|_| official),
            held_out_accuracy: weights.metadata.origin.as_ref().map(|o| o.held_out_accuracy),
        })
    }
}
