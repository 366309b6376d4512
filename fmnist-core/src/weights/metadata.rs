use std::collections::BTreeMap;

use crate::model::Normalisation;

/// What a weights file says of itself; its one metadata entry, as JSON.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// Version of this format.
    pub format: u32,
    /// Name of the network, see [`Architecture`](crate::model::Architecture).
    pub architecture: String,
    /// Version of the trained weights, such as `1.0`.
    pub version: String,
    /// Channels, rows and columns of an image.
    pub input_shape: [usize; 3],
    /// How pixels become inputs.
    pub normalisation: Normalisation,
    /// The class names; the index is the class.
    pub classes: Vec<String>,
    /// What the logits are divided by before the softmax; fitted on held-out training images.
    pub temperature: f32,
    /// The largest activation of each layer on training images: what the engine `int8` represents;
    /// empty if that was not measured.
    #[serde(default)]
    pub activations: BTreeMap<String, f32>,
    /// How well it does; `None` until it was measured.
    pub score: Option<Score>,
    /// How to train it again; `None` for weights of other origin.
    pub origin: Option<Origin>,
}

/// How well a model does on the official test set.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Score {
    /// Share of right answers, 0.0–1.0.
    pub accuracy: f64,
    /// Expected calibration error over 15 bins of equal width, 0.0–1.0.
    pub calibration_error: f64,
    /// Images judged.
    pub images: usize,
}

/// What is needed to train a model again.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The command line.
    pub command: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images of one step.
    pub batch: usize,
    /// Training images held out for the temperature and the choice of recipes.
    pub held_out: usize,
    /// Share of right answers on the held-out images, 0.0–1.0.
    pub held_out_accuracy: f64,
    /// SHA-256 of the training images and labels, uncompressed and in that order.
    pub data_sha256: String,
    /// Version of the training package and of Burn.
    pub software: String,
}
