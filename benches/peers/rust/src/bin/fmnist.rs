//! The subject of the comparison: fmnist-core's classifier on one of its engines.
//!
//! It is timed through `classify`, which does more than a peer's call: pixels in, calibrated
//! probabilities out.

use std::num::NonZeroUsize;

use anyhow::Context;
use fmnist_core::{Classifier, ClassifyError, Image, Prediction};
use fmnist_peers::{Description, Load, Peer, Unsupported};

struct FmnistCore {
    classifier: Classifier,
}

fn main() -> anyhow::Result<()> {
    fmnist_peers::serve::<FmnistCore>()
}

impl Peer for FmnistCore {
    type Input = Vec<Image>;
    type Output = Vec<Prediction>;

    fn load(load: Load) -> anyhow::Result<Self> {
        let threads = NonZeroUsize::new(load.threads).context("expected a thread or more")?;
        let engine =
            load.engine.parse().map_err(|error: ClassifyError| Unsupported(error.to_string()))?;
        let classifier = Classifier::open(&load.model)?.with_engine(engine)?.with_threads(threads);
        Ok(Self { classifier })
    }

    fn description(&self) -> Description {
        let engine = self.classifier.engine();
        let precision = if engine.name() == "int8" { "int8" } else { "f32" };
        Description { name: format!("fmnist-core {engine}"), precision }
    }

    fn prepare(&mut self, images: &[Image]) -> anyhow::Result<Self::Input> {
        Ok(images.to_vec())
    }

    fn run(&mut self, images: &Self::Input) -> anyhow::Result<Self::Output> {
        Ok(self.classifier.classify(images)?)
    }

    fn logits(&mut self, images: &Self::Input) -> anyhow::Result<Vec<f32>> {
        Ok(self.classifier.logits(images)?)
    }
}
