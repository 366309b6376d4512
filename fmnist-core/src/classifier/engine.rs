//! What computes a model, and why there is none, or no predictions.

use std::{fmt, str::FromStr};

#[cfg(feature = "burn")]
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{engine::Precision, text::list, weights::WeightsError};

/// What computes; every engine gives the same classes, but for [`Engine::Int8`] on an image between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("enum" = Self::ALL.map(Self::name))))]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Engine {
    /// This library's own, see [`engine`](crate::engine): several times as fast as the others.
    #[default]
    Fused,
    /// The same over bytes, for weights that were calibrated: faster still on x86-64 with AVX2, and several
    /// times where the processor multiplies bytes (AVX-512 VNNI, AMX); 0.1 points of accuracy away at most.
    Int8,
    /// Burn's Flex backend, of feature `flex`: pure Rust, on rayon's threads.
    Flex,
    /// Burn's NdArray backend, of feature `ndarray`: deprecated upstream, kept for comparison.
    NdArray,
}

/// What an [`Engine`] computes on.
pub(super) enum Backend {
    Plan(Precision),
    #[cfg(feature = "burn")]
    #[cfg_attr(
        not(any(feature = "flex", feature = "ndarray")),
        expect(dead_code, reason = "there is no backend of Burn's without these features")
    )]
    Burn(Device),
}

impl Engine {
    /// Every engine of this version, whether it was compiled in or not.
    pub const ALL: [Self; 4] = [Self::Fused, Self::Int8, Self::Flex, Self::NdArray];

    /// The name in configurations and commands; for Burn's, also that of the cargo feature.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Int8 => "int8",
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    /// How closely its logits agree with the network's, relative to one more than the largest of an
    /// image: bytes round sums by what is largest in them, whatever comes out.
    pub(super) const fn tolerance(self) -> f32 {
        match self {
            Self::Int8 => 0.1,
            _ => 1e-3,
        }
    }

    /// What it computes on.
    pub(super) fn backend(self) -> Result<Backend, ClassifyError> {
        match self {
            Self::Fused => Ok(Backend::Plan(Precision::F32)),
            Self::Int8 => Ok(Backend::Plan(Precision::Int8)),
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Backend::Burn(Device::flex())),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept for comparison as long as Burn has it")]
            Self::NdArray => Ok(Backend::Burn(Device::ndarray())),
            #[cfg(not(all(feature = "flex", feature = "ndarray")))]
            engine => Err(ClassifyError::EngineMissing { engine }),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = ClassifyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| ClassifyError::UnknownEngine { name: name.to_owned() })
    }
}

impl TryFrom<String> for Engine {
    type Error = ClassifyError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Engine> for &'static str {
    fn from(engine: Engine) -> Self {
        engine.name()
    }
}

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
