use std::sync::Arc;

use fmnist_core::{
    Image, Infer, ModelIdentity, PredictError, Prediction, Predictor, label::LABELS,
};

/// A model that computes nothing: what Kafka and the pipeline cost without one.
pub(crate) struct NoModel {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl Default for NoModel {
    fn default() -> Self {
        let (name, version, sha256) = ("none".to_owned(), "1.0".to_owned(), "0".repeat(64));
        let identity = Arc::new(ModelIdentity { name, version, sha256 });
        Self { labels: LABELS.map(str::to_owned).into(), identity }
    }
}

impl Predictor for NoModel {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let prediction = |_: &Image| Prediction {
            class: 0,
            probabilities: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].into(),
            model: Arc::clone(&self.identity),
        };
        Ok(images.iter().map(prediction).collect())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl Infer for NoModel {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}
