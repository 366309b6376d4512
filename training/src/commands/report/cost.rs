//! What a network costs: numbers to store and products to compute.

use anyhow::{Result, bail};
use fmnist_core::{model::Architecture, weights::Weights};

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Cost {
    /// Without running statistics.
    pub(super) parameters: u64,
    /// Of convolutions and dense layers, for one image.
    pub(super) multiply_adds: u64,
}

impl Cost {
    pub(super) fn of(weights: &Weights) -> Result<Self> {
        let architecture = weights.architecture()?;
        let mut cost = Self { parameters: 0, multiply_adds: 0 };
        for (name, tensor) in &weights.tensors {
            let count = tensor.values.len() as u64;
            if !name.contains("running") {
                cost.parameters += count;
            }
            // A batch normalisation has `gamma` and `beta`, which are folded into the convolution.
            if name.ends_with(".weight") {
                cost.multiply_adds += count * positions(architecture, name)?;
            }
        }
        Ok(cost)
    }
}

/// Positions of the map that a layer computes.
fn positions(architecture: Architecture, name: &str) -> Result<u64> {
    let mut parts = name.split('.');
    let (layer, number) = (parts.next().unwrap_or_default(), parts.next());
    let sides = match architecture {
        Architecture::Notebook if layer == "conv" => return Ok(26 * 26),
        Architecture::Notebook => return Ok(1),
        Architecture::Tiny | Architecture::Base => [14, 7, 3, 3],
        Architecture::Large => [14, 14, 7, 3],
        other => bail!("the cost of {other} is not known"),
    };
    let side: u64 = match (layer, number.and_then(|number| number.parse::<usize>().ok())) {
        ("stem", _) => 28,
        ("blocks" | "layers", Some(number)) if number < sides.len() => sides[number],
        _ => 1,
    };
    Ok(side * side)
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
