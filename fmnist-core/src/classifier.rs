//! Images in, predictions out.

mod engine;
mod error;
mod prediction;
#[cfg(test)]
mod tests;

use std::{fmt, fs, path::Path, sync::Arc};

use burn::tensor::Device;

pub use engine::Engine;
pub use error::ClassifyError;
pub use prediction::{ModelIdentity, Prediction};

use crate::{
    image::Image,
    model::Network,
    weights::{Metadata, Weights, WeightsError, sha256},
};

/// Images that one forward pass takes; more are done in turns, so that memory stays bounded.
const MAX_BATCH: usize = 256;

/// The models inside this build by name, the default first.
const BUILT_IN: &[(&str, &[u8])] = &[
    #[cfg(feature = "base")]
    ("base", include_bytes!("../weights/base.safetensors")),
    #[cfg(feature = "notebook")]
    ("notebook", include_bytes!("../weights/notebook.safetensors")),
];

/// A trained model, loaded, checked and warm. Clones share it; threads may, too.
///
/// Loading computes the file's golden images and compares the logits, so a classifier that exists
/// computes on this machine what it computed where it was trained.
#[derive(Clone)]
pub struct Classifier(Arc<Loaded>);

struct Loaded {
    weights: Weights,
    identity: Arc<ModelIdentity>,
    engine: Engine,
    device: Device,
    network: Network,
}

const _: () = {
    const fn assert_shareable<T: Send + Sync + 'static>() {}
    assert_shareable::<Classifier>();
};

impl Classifier {
    /// Loads the default model, which is inside this library.
    ///
    /// # Errors
    /// [`ClassifyError::EngineMissing`] without feature `flex`; [`ClassifyError::Weights`] on a
    /// machine that computes wrongly.
    #[cfg(feature = "base")]
    pub fn pretrained() -> Result<Self, ClassifyError> {
        Self::open("base")
    }

    /// Loads a built-in model by its name, or else the weights file of that path.
    ///
    /// # Errors
    /// [`ClassifyError::UnknownModel`] if there is neither, or as [`Classifier::load`].
    pub fn open(model: &str) -> Result<Self, ClassifyError> {
        if let Some((_, bytes)) = BUILT_IN.iter().find(|(name, _)| *name == model) {
            return Self::from_bytes(bytes, Engine::default());
        }
        if Path::new(model).exists() {
            return Self::load(model);
        }
        let built_in = Self::built_in().collect::<Vec<_>>().join(", ");
        Err(ClassifyError::UnknownModel { name: model.to_owned(), built_in })
    }

    /// Loads a weights file of any architecture and any number of classes.
    ///
    /// # Errors
    /// [`ClassifyError::Weights`] with what was expected and what was found.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ClassifyError> {
        let path = path.as_ref();
        let bytes = fs::read(path)
            .map_err(|source| WeightsError::File { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, Engine::default())
    }

    /// Loads the content of a weights file on an engine.
    ///
    /// # Errors
    /// As [`Classifier::load`], and [`ClassifyError::EngineMissing`].
    pub fn from_bytes(bytes: &[u8], engine: Engine) -> Result<Self, ClassifyError> {
        let weights = Weights::from_bytes(bytes)?;
        let identity = Arc::new(ModelIdentity {
            name: weights.metadata.architecture.clone(),
            version: weights.metadata.version.clone(),
            sha256: sha256(bytes),
        });
        Self::warm(weights, identity, engine)
    }

    /// The same model on another engine.
    ///
    /// # Errors
    /// [`ClassifyError::EngineMissing`], or [`ClassifyError::Weights`] if the engine computes
    /// other logits for the golden images.
    pub fn with_engine(self, engine: Engine) -> Result<Self, ClassifyError> {
        if engine == self.0.engine {
            return Ok(self);
        }
        Self::warm(self.0.weights.clone(), Arc::clone(&self.0.identity), engine)
    }

    /// The names of the models inside this build, the default first.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    fn warm(
        weights: Weights,
        identity: Arc<ModelIdentity>,
        engine: Engine,
    ) -> Result<Self, ClassifyError> {
        let device = engine.device()?;
        let network = weights.network(&device)?;
        let classifier = Self(Arc::new(Loaded { weights, identity, engine, device, network }));
        classifier.check_golden()?;
        Ok(classifier)
    }

    fn check_golden(&self) -> Result<(), ClassifyError> {
        const TOLERANCE: f32 = 1e-3;
        let (images, expected): (Vec<_>, Vec<_>) = self.0.weights.golden.iter().cloned().unzip();
        if images.is_empty() {
            return Ok(());
        }
        for (image, (expected, found)) in expected.iter().zip(self.logits(&images)?).enumerate() {
            for (class, (&expected, found)) in expected.iter().zip(found).enumerate() {
                if (expected - found).abs() > TOLERANCE * (1.0 + expected.abs()) {
                    Err(WeightsError::Golden { image, class, expected, found })?;
                }
            }
        }
        Ok(())
    }

    /// Classifies any number of images, none included; the answers are in their order.
    ///
    /// Blocks while it computes: call it from a thread of its own, not from an async task.
    ///
    /// # Errors
    /// [`ClassifyError::Inference`] if the engine fails or a logit is not finite.
    pub fn classify(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        let temperature = self.metadata().temperature;
        let mut predictions = Vec::with_capacity(images.len());
        for batch in images.chunks(MAX_BATCH) {
            predictions.extend(self.logits(batch)?.iter().map(|logits| {
                Prediction::from_logits(logits, temperature, Arc::clone(&self.0.identity))
            }));
        }
        Ok(predictions)
    }

    /// One row of finite logits for each image.
    fn logits(&self, images: &[Image]) -> Result<Vec<Vec<f32>>, ClassifyError> {
        let failed = |reason| ClassifyError::Inference { images: images.len(), reason };
        let input = self.metadata().normalisation.tensor(images, &self.0.device);
        let output = self.0.network.forward(input); // [batch, classes]
        let [_, classes] = output.dims();
        let data = output.try_into_data().map_err(|error| failed(error.to_string()))?;
        let logits: Vec<f32> = data.iter::<f32>().collect();
        if let Some(position) = logits.iter().position(|logit| !logit.is_finite()) {
            let (image, found) = (position / classes, logits[position]);
            return Err(failed(format!("image {image}: expected finite logits, found {found}")));
        }
        Ok(logits.chunks(classes).map(<[f32]>::to_vec).collect())
    }

    /// The class names; the index is the class.
    pub fn labels(&self) -> &[String] {
        &self.metadata().classes
    }

    /// The identity that every prediction carries.
    pub fn identity(&self) -> &Arc<ModelIdentity> {
        &self.0.identity
    }

    /// What the weights file says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.0.weights.metadata
    }

    /// The engine that computes.
    pub fn engine(&self) -> Engine {
        self.0.engine
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("identity", &self.0.identity)
            .field("engine", &self.0.engine)
            .finish_non_exhaustive()
    }
}

/// What a pipeline needs of a model: batches in, predictions out, on its own thread.
///
/// [`Classifier`] is the real one; tests and benchmarks put failing, slow and no-op models here.
pub trait Infer: Send + Sync + 'static {
    /// Classifies a batch of any length; the answers are in the order of the images.
    ///
    /// # Errors
    /// When the batch as a whole fails; the pipeline then bisects it.
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError>;
    /// The class names; the index is the class.
    fn labels(&self) -> &[String];
    /// The identity that every prediction carries.
    fn identity(&self) -> &Arc<ModelIdentity>;
}

impl Infer for Classifier {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        self.classify(images)
    }

    fn labels(&self) -> &[String] {
        self.labels()
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        self.identity()
    }
}
