//! The networks, as Burn modules (feature `burn`): one file, one network, one screen.
//!
//! Every network maps `[batch, 1, 28, 28]` `f32` (pixel / 255, less the mean, by the deviation)
//! to logits `[batch, classes]`; the softmax belongs to the [classifier](crate::classifier).

#[cfg(feature = "burn")]
mod base;
#[cfg(feature = "burn")]
mod block;
#[cfg(feature = "burn")]
mod large;
#[cfg(feature = "burn")]
mod network;
#[cfg(feature = "burn")]
mod notebook;
#[cfg(feature = "burn")]
mod tiny;

use std::{fmt, str::FromStr};

use crate::image::Image;

#[cfg(feature = "burn")]
pub use {base::Base, large::Large, network::Network, notebook::Notebook, tiny::Tiny};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// [`Notebook`]
    Notebook,
    /// [`Base`]
    Base,
    /// [`Tiny`]
    Tiny,
    /// [`Large`]
    Large,
}

impl Architecture {
    /// Every architecture of this version.
    pub const ALL: [Self; 4] = [Self::Notebook, Self::Base, Self::Tiny, Self::Large];

    /// The name in weights files, configurations and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notebook => "notebook",
            Self::Base => "base",
            Self::Tiny => "tiny",
            Self::Large => "large",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no architecture has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no architecture is called {name:?}; there are notebook, base, tiny and large")]
#[non_exhaustive]
pub struct UnknownArchitecture {
    /// The name as given.
    pub name: String,
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.name() == name)
            .ok_or_else(|| UnknownArchitecture { name: name.to_owned() })
    }
}

/// How pixels become the numbers that a network was trained on: `(pixel / 255 - mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// Mean of pixel / 255 over the training images, or 0.
    pub mean: f32,
    /// Standard deviation of pixel / 255 over the training images, or 1.
    pub deviation: f32,
}

impl Normalisation {
    /// Normalises a batch.
    ///
    /// # Shapes
    /// - output: `[batch, 28, 28]`
    pub fn values(self, images: &[Image]) -> Vec<f32> {
        let scale = 1.0 / (255.0 * self.deviation);
        let offset = -self.mean / self.deviation;
        images
            .iter()
            .flat_map(|image| image.pixels().iter().map(|&pixel| f32::from(pixel) * scale + offset))
            .collect()
    }
}
