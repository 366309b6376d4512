use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use super::block::ConvNorm;

/// Plain convolutions between pools, for the smallest processors: 16 k parameters for ten classes,
/// 0.8 million multiply-adds an image.
#[derive(Module, Debug)]
pub struct Tiny {
    stem: ConvNorm,
    layers: [ConvNorm; 3],
    pool: MaxPool2d,
    output: Linear,
}

impl Tiny {
    /// Initialises the weights at random.
    pub fn new(classes: usize, device: &Device) -> Self {
        Self {
            stem: ConvNorm::new([1, 16], 3, device),
            layers: [[16, 16], [16, 24], [24, 32]].map(|w| ConvNorm::new(w, 3, device)),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            output: LinearConfig::new(32 * 3 * 3, classes).init(device),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: `[batch, 288]` `f32`, at least 0
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(images)); // [batch, 16, 28, 28]
        for layer in &self.layers {
            x = relu(layer.forward(self.pool.forward(x))); // [_, 16, 14, 14], [_, 24, 7, 7], [_, 32, 3, 3]
        }
        x.flatten(1, 3) // [batch, 288]
    }

    /// The layer from features to logits `[batch, classes]`.
    pub const fn head(&self) -> &Linear {
        &self.output
    }
}
