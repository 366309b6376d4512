//! How each network is trained.

use fmnist_core::model::{Architecture, Normalisation};

/// Everything that decides a training run but seed, data, threads and teacher.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Recipe {
    pub(crate) architecture: Architecture,
    pub(crate) normalisation: Normalisation,
    pub(crate) epochs: usize,
    pub(crate) batch: usize,
    pub(crate) optimiser: Optimiser,
    pub(crate) augmentation: Augmentation,
    /// The share of the last layer's inputs that a step sets to zero.
    pub(crate) dropout: f64,
    /// The share of every target that is spread over all classes.
    pub(crate) label_smoothing: f32,
    /// Decay of the average of weights that is kept in the end.
    pub(crate) average_decay: Option<f64>,
    /// The share of the steps in which the rate rises, where it does.
    #[serde(default = "warm_up")]
    pub(crate) warm_up: f64,
}

fn warm_up() -> f64 {
    0.2
}

fn beta2() -> f32 {
    0.999
}

/// How a step is made of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Optimiser {
    /// The notebook's: SGD with momentum; the rate falls when the loss stays.
    Sgd { rate: f64, momentum: f64 },
    /// SGD with Nesterov's momentum on one warm-up and one cosine.
    Nesterov { peak_rate: f64, weight_decay: f32 },
    /// AdamW on one warm-up and one cosine.
    AdamW {
        peak_rate: f64,
        weight_decay: f32,
        /// Decay of the mean of squared gradients.
        #[serde(default = "beta2")]
        beta2: f32,
    },
}

impl Optimiser {
    /// AdamW with the usual memory of squared gradients.
    pub(crate) fn adam_w(peak_rate: f64, weight_decay: f32) -> Self {
        Self::AdamW { peak_rate, weight_decay, beta2: beta2() }
    }
}

/// Which images are mirrored, left and right.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
pub(crate) enum Flip {
    /// None: for things that have a left and a right
    None,
    /// Each by the toss of a coin
    #[default]
    Random,
    /// Each in every second epoch, half of them in the first
    Alternating,
}

/// What becomes of an image before a step sees it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Augmentation {
    /// Whether images are flipped and shifted.
    pub(crate) move_about: bool,
    /// How they are flipped.
    #[serde(default)]
    pub(crate) flip: Flip,
    /// The most degrees by which every other image is turned, to either side.
    #[serde(default)]
    pub(crate) rotation: f64,
    /// Probability of another contrast, of another brightness and of noise, each; 0.6 of it that of a
    /// blur.
    #[serde(default)]
    pub(crate) corrupt: f64,
    /// Probability that a rectangle is overwritten with noise.
    pub(crate) erasing: f64,
    /// How evenly two images are mixed, the α of Beta(α, α); 0 for not at all.
    pub(crate) mixup: f64,
}

impl Recipe {
    pub(crate) fn of(architecture: Architecture) -> Self {
        let adam_w = |weight_decay| Optimiser::adam_w(0.006, weight_decay);
        let still = Augmentation {
            move_about: false,
            flip: Flip::Random,
            rotation: 0.0,
            corrupt: 0.0,
            erasing: 0.0,
            mixup: 0.0,
        };
        let modern = Self {
            architecture,
            normalisation: Normalisation { mean: 0.2860, deviation: 0.3530 },
            epochs: 32,
            batch: 128,
            optimiser: adam_w(0.05),
            augmentation: Augmentation { move_about: true, ..still },
            dropout: 0.2,
            label_smoothing: 0.0,
            average_decay: Some(0.999),
            warm_up: warm_up(),
        };
        match architecture {
            Architecture::Notebook => Self {
                normalisation: Normalisation { mean: 0.0, deviation: 1.0 },
                epochs: 10,
                batch: 32,
                optimiser: Optimiser::Sgd { rate: 0.01, momentum: 0.9 },
                augmentation: still,
                dropout: 0.0,
                average_decay: None,
                ..modern
            },
            Architecture::Tiny => {
                Self { epochs: 60, dropout: 0.0, optimiser: adam_w(0.01), ..modern }
            }
            // Random erasing pays on the larger networks only (Zhong et al. 2017).
            Architecture::Large => Self {
                epochs: 60,
                augmentation: Augmentation { erasing: 0.25, ..modern.augmentation },
                ..modern
            },
            _ => modern,
        }
    }
}
