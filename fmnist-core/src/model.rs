//! The networks, as Burn modules: one file, one network, one screen.
//!
//! Every network maps `[batch, 1, 28, 28]` `f32` (pixel / 255, less the mean, by the deviation)
//! to logits `[batch, classes]`; the softmax belongs to the [classifier](crate::classifier).

mod base;
mod block;
mod large;
mod notebook;
mod tiny;

use std::{fmt, str::FromStr};

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor, TensorData},
};

use crate::image::Image;

pub use base::Base;
pub use large::Large;
pub use notebook::Notebook;
pub use tiny::Tiny;

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

/// A network of any architecture.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a program holds one or two, not many")]
pub enum Network {
    /// The old notebook's network.
    Notebook(Notebook),
    /// The default network.
    Base(Base),
    /// The network of least cost.
    Tiny(Tiny),
    /// The network of most accuracy.
    Large(Large),
}

impl Network {
    /// Initialises the weights at random, from the device's seed.
    ///
    /// On a device with autodiff the network trains: batch statistics are used and gathered.
    pub fn new(architecture: Architecture, classes: usize, device: &Device) -> Self {
        match architecture {
            Architecture::Notebook => Self::Notebook(Notebook::new(classes, device)),
            Architecture::Base => Self::Base(Base::new(classes, device)),
            Architecture::Tiny => Self::Tiny(Tiny::new(classes, device)),
            Architecture::Large => Self::Large(Large::new(classes, device)),
        }
    }

    /// Computes the logits.
    ///
    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: `[batch, classes]` `f32`, any range
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.head().forward(self.features(images))
    }

    /// Computes what the last layer sees, which is where training drops out.
    ///
    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: `[batch, features]` `f32`, at least 0
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Notebook(network) => network.features(images),
            Self::Base(network) => network.features(images),
            Self::Tiny(network) => network.features(images),
            Self::Large(network) => network.features(images),
        }
    }

    /// The last layer, from features to logits.
    pub const fn head(&self) -> &Linear {
        match self {
            Self::Notebook(network) => network.head(),
            Self::Base(network) => network.head(),
            Self::Tiny(network) => network.head(),
            Self::Large(network) => network.head(),
        }
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

    /// Puts a batch on a device.
    ///
    /// # Shapes
    /// - output: `[batch, 1, 28, 28]` `f32`, normalised
    pub fn tensor(self, images: &[Image], device: &Device) -> Tensor<4> {
        let shape = [images.len(), 1, Image::HEIGHT, Image::WIDTH];
        Tensor::from_data(TensorData::new(self.values(images), shape), device)
    }
}
