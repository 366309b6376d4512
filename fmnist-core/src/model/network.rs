use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor, TensorData},
};

use super::{Architecture, Base, Large, Normalisation, Notebook, Tiny};
use crate::image::Image;

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

impl Normalisation {
    /// Puts a batch on a device.
    ///
    /// # Shapes
    /// - output: `[batch, 1, 28, 28]` `f32`, normalised
    pub fn tensor(self, images: &[Image], device: &Device) -> Tensor<4> {
        let shape = [images.len(), 1, Image::HEIGHT, Image::WIDTH];
        Tensor::from_data(TensorData::new(self.values(images), shape), device)
    }
}
