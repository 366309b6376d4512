//! The networks: a row each, and their Burn modules (feature `burn`).
//!
//! Every network maps `[batch, 1, 28, 28]` `f32` (pixel / 255, less the mean, by the deviation)
//! to logits `[batch, classes]`; the softmax belongs to the [classifier](crate::classifier).

mod architecture;
#[cfg(feature = "burn")]
mod conv_net;
#[cfg(feature = "burn")]
mod network;
pub(crate) mod notebook;

#[cfg(feature = "burn")]
use burn::tensor::{Device, Tensor, TensorData};

use crate::image::Image;

pub use architecture::{Architecture, UnknownArchitecture};
pub(crate) use architecture::{Kind, NORM_EPSILON, Unit};
#[cfg(feature = "burn")]
pub use {
    conv_net::ConvNet,
    network::{Base, Large, Network, Tiny},
    notebook::Notebook,
};

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
    #[cfg(feature = "burn")]
    pub fn tensor(self, images: &[Image], device: &Device) -> Tensor<4> {
        let shape = [images.len(), 1, Image::HEIGHT, Image::WIDTH];
        Tensor::from_data(TensorData::new(self.values(images), shape), device)
    }
}
