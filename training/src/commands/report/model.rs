//! What is said of one model, and what it costs: numbers to store and products to compute.

use anyhow::Result;
use fmnist_core::{Classifier, label::LABELS, weights::Score};

#[derive(Debug, serde::Serialize)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) sha256: String,
    /// Without running statistics.
    pub(super) parameters: u64,
    /// Of convolutions and dense layers, for one image.
    pub(super) multiply_adds: u64,
    /// On the official test set; `None` where it was not measured or the classes are others.
    pub(super) score: Option<Score>,
    /// On held-out training images, 0.0–1.0.
    pub(super) held_out_accuracy: Option<f64>,
}

impl Model {
    pub(super) fn of(classifier: &Classifier) -> Result<Self> {
        let (identity, weights) = (classifier.identity(), classifier.weights());
        let classes = &weights.metadata.classes;
        let learnt = weights.tensors.iter().filter(|(name, _)| !name.contains("running"));
        Ok(Self {
            name: identity.name.clone(),
            version: identity.version.clone(),
            sha256: identity.sha256.clone(),
            parameters: learnt.map(|(_, tensor)| tensor.values.len() as u64).sum(),
            multiply_adds: weights.architecture()?.multiply_adds(classes.len()) as u64,
            score: weights.metadata.score.filter(|_| *classes == LABELS),
            held_out_accuracy: weights.metadata.origin.as_ref().map(|o| o.held_out_accuracy),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_models_cost_what_the_documentation_says() {
        let cost = |name| {
            let classifier = Classifier::open(name).expect("a built-in model");
            let model = Model::of(&classifier).expect("known");
            (model.parameters, model.multiply_adds)
        };
        let notebook = 32 * 9 * 26 * 26 + 5408 * 100 + 100 * 10;
        assert_eq!(cost("notebook"), (542_230, notebook));
        assert_eq!(cost("tiny"), (15_882, 798_912));
        assert_eq!(cost("base"), (78_746, 4_915_520));
    }
}
