//! What a network costs: numbers to store and products to compute.

use fmnist_core::weights::{Weights, WeightsError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Cost {
    /// Without running statistics.
    pub(super) parameters: u64,
    /// Of convolutions and dense layers, for one image.
    pub(super) multiply_adds: u64,
}

impl Cost {
    pub(super) fn of(weights: &Weights) -> Result<Self, WeightsError> {
        let learnt = weights.tensors.iter().filter(|(name, _)| !name.contains("running"));
        let classes = weights.metadata.classes.len();
        Ok(Self {
            parameters: learnt.map(|(_, tensor)| tensor.values.len() as u64).sum(),
            multiply_adds: weights.architecture()?.multiply_adds(classes) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use fmnist_core::Classifier;

    use super::*;

    #[test]
    fn the_shipped_models_cost_what_the_documentation_says() {
        let cost = |name| {
            let classifier = Classifier::open(name).expect("a built-in model");
            Cost::of(classifier.weights()).expect("known")
        };
        let notebook = 32 * 9 * 26 * 26 + 5408 * 100 + 100 * 10;
        assert_eq!(cost("notebook"), Cost { parameters: 542_230, multiply_adds: notebook });
        assert_eq!(cost("tiny"), Cost { parameters: 15_882, multiply_adds: 798_912 });
        assert_eq!(cost("base"), Cost { parameters: 78_746, multiply_adds: 4_915_520 });
    }
}
