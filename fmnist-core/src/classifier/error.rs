use super::Engine;
use crate::{text::list, weights::WeightsError};

/// Why there is no classifier, or why a batch got no predictions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// The engine failed on this batch; the images are untouched and smaller batches may succeed.
    #[error("inference on {images} images failed: {reason}")]
    Inference {
        /// Images in the batch.
        images: usize,
        /// What the engine said.
        reason: String,
    },
    /// The model can't answer now; it may later.
    #[error("the model can't answer now: {reason}")]
    Unavailable {
        /// What it waits for.
        reason: String,
    },
    /// The weights cannot be used; no model was loaded.
    #[error("the model cannot be loaded")]
    Weights(#[from] WeightsError),
    /// Neither a built-in model nor a file.
    #[error("no built-in model is called {name:?} and no such file exists; built in: {built_in}")]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The names that would have been right.
        built_in: String,
    },
    /// No engine has that name.
    #[error("no engine is called {name:?}; there are {}", list(&Engine::ALL.map(Engine::name)))]
    UnknownEngine {
        /// The name as given.
        name: String,
    },
    /// The engine was left out of this build.
    #[error(
        "engine {engine} is not in this build: build it with --features {engine}, as in cargo run \
         --release --features {engine} --example classify (a program of your own: the feature \
         {engine} of fmnist-core)"
    )]
    EngineMissing {
        /// The engine.
        engine: Engine,
    },
}
