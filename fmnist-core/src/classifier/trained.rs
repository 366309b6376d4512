//! A trained model behind one call: images in, predictions out, on the engine that was chosen. One that
//! exists has computed its file's golden images on this machine.

use std::{fmt, fs, num::NonZeroUsize, path::Path, sync::Arc};

#[cfg(feature = "burn")]
use burn::tensor::Device;
use stream_inference::{
    Batcher,
    predict::{PredictError, Predictor, checked},
};

use super::{ClassifyError, Engine, ModelIdentity, Prediction, engine::Backend};
#[cfg(feature = "burn")]
use crate::model::Network;
use crate::{
    engine::{Isa, Plan, Threads},
    image::Image,
    weights::{Metadata, Weights, WeightsError, sha256},
};

/// Images that one forward pass of Burn takes; more are done in turns, so that memory stays bounded.
#[cfg(feature = "burn")]
pub(super) const MAX_BATCH: usize = 256;

/// The models inside this build by name, the default first.
const BUILT_IN: &[(&str, &[u8])] = &[
    #[cfg(feature = "base")]
    ("base", include_bytes!("../../weights/base.safetensors")),
    #[cfg(feature = "notebook")]
    ("notebook", include_bytes!("../../weights/notebook.safetensors")),
    #[cfg(feature = "tiny")]
    ("tiny", include_bytes!("../../weights/tiny.safetensors")),
];

/// A trained model, loaded, checked and warm. Clones share it; threads may, too.
///
/// Loading computes the file's golden images and compares the logits, so a classifier that exists
/// computes on this machine what it computed where it was trained.
#[derive(Clone)]
pub struct Classifier {
    model: Arc<Model>,
    threads: Threads,
    flip_average: bool,
}

struct Model {
    weights: Weights,
    identity: Arc<ModelIdentity>,
    engine: Engine,
    forward: Forward,
}

/// What turns images into logits.
#[cfg_attr(
    feature = "burn",
    expect(clippy::large_enum_variant, reason = "a program holds one or two, not many")
)]
enum Forward {
    Plan(Arc<Plan>),
    #[cfg(feature = "burn")]
    Burn {
        device: Device,
        network: Network,
    },
}

const _: () = {
    const fn assert_shareable<T: Send + Sync + 'static>() {}
    assert_shareable::<Classifier>();
};

impl Classifier {
    /// Loads the default model, which is inside this library.
    ///
    /// # Errors
    /// [`ClassifyError::Weights`] on a machine that computes wrongly.
    #[cfg(feature = "base")]
    pub fn pretrained() -> Result<Self, ClassifyError> {
        Self::open("base")
    }

    /// Loads a built-in model by its name, or else the weights file of that path.
    ///
    /// # Errors
    /// [`ClassifyError::UnknownModel`] if there is neither, or as [`Classifier::load`].
    pub fn open(model: &str) -> Result<Self, ClassifyError> {
        if let Some((name, bytes)) = BUILT_IN.iter().find(|(name, _)| *name == model) {
            return Self::named(bytes, Engine::default(), |_| (*name).to_owned());
        }
        if Path::new(model).exists() {
            return Self::load(model);
        }
        let built_in = Self::built_in().collect::<Vec<_>>().join(", ");
        Err(ClassifyError::UnknownModel { name: model.to_owned(), built_in })
    }

    /// Loads a weights file of any architecture and any number of classes. Where it does not say what
    /// the model is called, it is called as the file is, without its extension.
    ///
    /// # Errors
    /// [`ClassifyError::Weights`] with what was expected and what was found.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ClassifyError> {
        let path = path.as_ref();
        let bytes = fs::read(path)
            .map_err(|source| WeightsError::File { path: path.to_owned(), source })?;
        Self::named(&bytes, Engine::default(), |metadata| metadata.name_at(path))
    }

    /// Loads the content of a weights file on an engine. Where it does not say what the model is called,
    /// it is called as its network is.
    ///
    /// # Errors
    /// As [`Classifier::load`]; [`ClassifyError::EngineMissing`] without the engine's feature.
    pub fn from_bytes(bytes: &[u8], engine: Engine) -> Result<Self, ClassifyError> {
        Self::named(bytes, engine, |metadata| metadata.name_at(Path::new("")))
    }

    fn named(
        bytes: &[u8],
        engine: Engine,
        name: impl Fn(&Metadata) -> String,
    ) -> Result<Self, ClassifyError> {
        let weights = Weights::from_bytes(bytes)?;
        let identity = Arc::new(ModelIdentity {
            name: name(&weights.metadata),
            version: weights.metadata.version.clone(),
            sha256: sha256(bytes),
        });
        Self::warm(weights, identity, engine, Isa::best(), Threads::shared())
    }

    /// The same model on another engine; from `fused` to `int8` or back, with the same instruction set.
    ///
    /// # Errors
    /// [`ClassifyError::EngineMissing`], or [`ClassifyError::Weights`] if the engine computes
    /// other logits for the golden images.
    pub fn with_engine(self, engine: Engine) -> Result<Self, ClassifyError> {
        let isa = self.kernel().unwrap_or_else(Isa::best);
        if engine == self.engine() { Ok(self) } else { self.warm_again(engine, isa) }
    }

    /// The same model with another instruction set of [`Engine::Fused`] or [`Engine::Int8`]; Burn's engines
    /// take no notice.
    ///
    /// # Errors
    /// [`ClassifyError::Weights`] if it computes other logits for the golden images.
    ///
    /// # Panics
    /// If this processor does not have it, see [`Isa::is_available`].
    pub fn with_kernel(self, isa: Isa) -> Result<Self, ClassifyError> {
        if self.kernel().is_none_or(|kernel| kernel == isa) {
            return Ok(self);
        }
        let engine = self.engine();
        self.warm_again(engine, isa)
    }

    /// The same model, computed by `count` threads of its own instead of those that the process
    /// shares ([`Threads::shared`]). Burn's engines have rayon's instead and take no notice.
    #[must_use]
    pub fn with_threads(self, count: NonZeroUsize) -> Self {
        Self { threads: Threads::new(count), ..self }
    }

    /// The same model, whose probabilities are the mean of those for the image and for its mirror image: twice
    /// the cost, for some tenths of a point of accuracy (Krizhevsky et al., 2012, average over crops and
    /// reflections).
    #[must_use]
    pub fn with_flip_average(self, flip_average: bool) -> Self {
        Self { flip_average, ..self }
    }

    /// The names of the models inside this build, the default first.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    fn warm(
        weights: Weights,
        identity: Arc<ModelIdentity>,
        engine: Engine,
        isa: Isa,
        threads: Threads,
    ) -> Result<Self, ClassifyError> {
        let forward = match engine.backend()? {
            Backend::Plan(precision) => {
                Forward::Plan(Arc::new(Plan::compile(&weights, precision, isa)?))
            }
            #[cfg(feature = "burn")]
            Backend::Burn(device) => Forward::Burn { network: weights.network(&device)?, device },
        };
        let model = Arc::new(Model { weights, identity, engine, forward });
        let classifier = Self { model, threads, flip_average: false };
        classifier.check_golden()?;
        Ok(classifier)
    }

    fn warm_again(self, engine: Engine, isa: Isa) -> Result<Self, ClassifyError> {
        let identity = Arc::clone(self.identity());
        let weights = self.model.weights.clone();
        let warm = Self::warm(weights, identity, engine, isa, self.threads)?;
        Ok(warm.with_flip_average(self.flip_average))
    }

    fn check_golden(&self) -> Result<(), ClassifyError> {
        let (images, expected): (Vec<_>, Vec<_>) =
            self.model.weights.golden.iter().cloned().unzip();
        let logits = self.logits(&images)?;
        let rows = logits.chunks(self.labels().len());
        for (image, (expected, found)) in expected.iter().zip(rows).enumerate() {
            let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
            let tolerated = self.engine().tolerance() * (1.0 + largest);
            for (class, (&expected, &found)) in expected.iter().zip(found).enumerate() {
                if (expected - found).abs() > tolerated {
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
        let mut predictions = self.predictions(images)?;
        if self.flip_average {
            let mirrored: Vec<Image> = images.iter().map(Image::mirrored).collect();
            for (prediction, mirrored) in predictions.iter_mut().zip(self.predictions(&mirrored)?) {
                prediction.average_with(&mirrored);
            }
        }
        Ok(predictions)
    }

    /// In one forward pass.
    fn predictions(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        let temperature = self.metadata().temperature;
        let predict = |logits: &[f32]| {
            Prediction::from_logits(logits, temperature, Arc::clone(self.identity()))
        };
        Ok(self.logits(images)?.chunks(self.labels().len()).map(predict).collect())
    }

    /// Computes what the network says before calibration, of any number of images as they are.
    ///
    /// # Shapes
    /// - output: `[images, classes]` `f32`, row-major, finite
    ///
    /// # Errors
    /// As [`Classifier::classify`].
    pub fn logits(&self, images: &[Image]) -> Result<Vec<f32>, ClassifyError> {
        let failed = |reason| ClassifyError::Inference { images: images.len(), reason };
        let classes = self.labels().len();
        let logits = match &self.model.forward {
            Forward::Plan(plan) => {
                let mut logits = vec![0.0; images.len() * classes];
                self.threads.logits(plan, images, &mut logits);
                logits
            }
            #[cfg(feature = "burn")]
            Forward::Burn { device, network } => {
                let mut logits = Vec::with_capacity(images.len() * classes);
                for batch in images.chunks(MAX_BATCH) {
                    let input = self.metadata().normalisation.tensor(batch, device);
                    let output = network.forward(input); // [batch, classes]
                    let data = output.try_into_data().map_err(|error| failed(error.to_string()))?;
                    logits.extend(data.iter::<f32>());
                }
                logits
            }
        };
        if let Some(position) = logits.iter().position(|logit| !logit.is_finite()) {
            let (image, found) = (position / classes, logits[position]);
            return Err(failed(format!("image {image}: expected finite logits, found {found}")));
        }
        Ok(logits)
    }

    /// The class names; the index is the class.
    pub fn labels(&self) -> &[String] {
        &self.metadata().classes
    }

    /// The identity that every prediction carries.
    pub fn identity(&self) -> &Arc<ModelIdentity> {
        &self.model.identity
    }

    /// The weights that it was loaded from.
    pub fn weights(&self) -> &Weights {
        &self.model.weights
    }

    /// What the weights file says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.model.weights.metadata
    }

    /// The engine that computes.
    pub fn engine(&self) -> Engine {
        self.model.engine
    }

    /// The instruction set that [`Engine::Fused`] or [`Engine::Int8`] computes with; `None` on Burn's engines.
    pub fn kernel(&self) -> Option<Isa> {
        match &self.model.forward {
            Forward::Plan(plan) => Some(plan.kernel()),
            #[cfg(feature = "burn")]
            Forward::Burn { .. } => None,
        }
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("identity", &self.model.identity)
            .field("engine", &self.model.engine)
            .field("kernel", &self.kernel())
            .field("flip_average", &self.flip_average)
            .finish_non_exhaustive()
    }
}

/// A model of images: what the page and the inference protocol need besides a [`Predictor`].
///
/// [`Classifier`] is the real one; tests and benchmarks put failing, slow and no-op models here.
pub trait Infer: Predictor<Input = Image, Output = Prediction> {
    /// The class names; the index is the class.
    fn labels(&self) -> &[String];

    /// Classifies a batch of any length; the answers are in the order of the images.
    ///
    /// # Errors
    /// [`ClassifyError::Inference`] or [`ClassifyError::Unavailable`].
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        let failed = |error: PredictError| match error {
            PredictError::Unavailable { reason } => ClassifyError::Unavailable { reason },
            error => ClassifyError::Inference { images: images.len(), reason: error.to_string() },
        };
        checked(self, images).map(|served| served.outputs).map_err(failed)
    }
}

impl<M: Infer + ?Sized> Infer for Arc<M> {
    fn labels(&self) -> &[String] {
        (**self).labels()
    }
}

impl<M: Infer> Infer for Batcher<M> {
    fn labels(&self) -> &[String] {
        self.model().labels()
    }
}

impl Infer for Classifier {
    fn labels(&self) -> &[String] {
        self.labels()
    }
}

impl Predictor for Classifier {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, batch: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        self.classify(batch).map_err(|error| PredictError::from(error.to_string()))
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(self.identity())
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.predict(&[Image::new([0; Image::PIXELS])]).map(drop)
    }

    fn verify(&self, output: &Prediction) -> Result<(), String> {
        output.check(self.labels().len())
    }
}
