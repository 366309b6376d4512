use std::{sync::Arc, time::Duration};

use fmnist_core::{ClassifyError, Image, Infer, ModelIdentity, Prediction};

/// A model that answers class 0 after a fixed time a batch.
pub(crate) struct Constant {
    delay: Duration,
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl Constant {
    pub(crate) fn new(delay: Duration) -> Arc<Self> {
        let (name, version, sha256) = ("constant".into(), "1.0".into(), "0".repeat(64));
        let identity = Arc::new(ModelIdentity { name, version, sha256 });
        Arc::new(Self { delay, labels: vec!["Only".to_owned()], identity })
    }
}

impl Infer for Constant {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        std::thread::sleep(self.delay);
        let model = || Arc::clone(&self.identity);
        let answer = || Prediction { class: 0, probabilities: [1.0].into(), model: model() };
        Ok(images.iter().map(|_| answer()).collect())
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        &self.identity
    }
}

pub(crate) fn test_set() -> Arc<[Image]> {
    Arc::new([Image::new([1; Image::PIXELS])])
}
