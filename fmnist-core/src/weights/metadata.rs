//! What a weights file says of itself. Members are added, never changed: files of before stay readable.

use std::{collections::BTreeMap, path::Path};

use crate::{classifier::Prediction, model::Normalisation, text};

/// What a weights file says of itself; its one metadata entry, as JSON.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// Version of this format.
    pub format: u32,
    /// What the model is called; `None` where its file's name or its network's says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
    /// How it answers where all is well; `None` until it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// How well it does; `None` until it was measured.
    pub score: Option<Score>,
    /// How to train it again; `None` for weights of other origin.
    pub origin: Option<Origin>,
}

/// What the name of a model has to be, in words.
pub const NAME: &str =
    "a name of 1 to 100 bytes, without `/`, control characters and white space around it";

/// Whether a model may be called that: it stands in paths of URLs and in labels of metrics.
pub fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.trim() == text
        && !text.contains(|c: char| c == '/' || c.is_control())
}

impl Metadata {
    /// What the model is called that a file at this path holds: by the name in the file, else by the
    /// file's, else by its network's.
    pub fn name_at(&self, path: &Path) -> String {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_name(stem));
        text::name(self.name.as_deref().or(stem).unwrap_or(&self.architecture))
    }
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

/// How a model answers on images like those it learnt from, which it did not see: what a service
/// compares its own answers with, to notice that its input has drifted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Baseline {
    /// How often each class was the answer, in class order.
    pub answers: Vec<usize>,
    /// How many answers had a probability in each of [`Baseline::BINS`] bins of equal width, from
    /// 0.0 to 1.0.
    pub probabilities: Vec<usize>,
}

impl Baseline {
    /// Bins of probabilities.
    pub const BINS: usize = 20;

    /// Counts answers of a model with so many classes.
    ///
    /// # Panics
    /// If the predictions are of a model with more classes.
    pub fn of(predictions: &[Prediction], classes: usize) -> Self {
        let mut counted = Self { answers: vec![0; classes], probabilities: vec![0; Self::BINS] };
        for prediction in predictions {
            let bin = (prediction.probability() * Self::BINS as f32) as usize;
            counted.answers[prediction.class] += 1;
            counted.probabilities[bin.min(Self::BINS - 1)] += 1;
        }
        counted
    }
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
    /// Commit of the training package's source, with `-dirty` behind it if that was changed; `None`
    /// where Git does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}
