//! The old notebook's network by hand: no other stays inside of the image, or has a hidden dense layer.

#[cfg(feature = "burn")]
use burn::{
    module::{Initializer, Module},
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use crate::image::Image;

/// Channels of the convolution.
pub(crate) const CHANNELS: usize = 32;
/// Rows, and columns, of the convolution's map: it stays inside of the image.
const SIDE: usize = Image::WIDTH - 2;
/// Rows, and columns, behind the pool.
pub(crate) const POOLED: usize = SIDE / 2;
/// Numbers that the hidden layer reads.
pub(crate) const FLAT: usize = CHANNELS * POOLED * POOLED;
/// Numbers that it leaves.
pub(crate) const HIDDEN: usize = 100;

pub(super) const fn multiply_adds(classes: usize) -> usize {
    9 * CHANNELS * SIDE * SIDE + FLAT * HIDDEN + HIDDEN * classes
}

/// The old notebook's Keras network, layer for layer: 542,230 parameters for ten classes.
///
/// Keras flattens height, width, channel where Burn flattens channel, height, width; the first
/// dense layer's rows are permuted accordingly, which nothing else can see.
#[cfg(feature = "burn")]
#[derive(Module, Debug)]
pub struct Notebook {
    conv: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    output: Linear,
}

#[cfg(feature = "burn")]
impl Notebook {
    /// Initialises the weights as Keras did: `he_uniform`, Glorot for the last layer, biases 0.
    pub fn new(classes: usize, device: &Device) -> Self {
        let he_uniform = Initializer::KaimingUniform { gain: 2.0_f64.sqrt(), fan_out_only: false };
        let glorot_uniform = Initializer::XavierUniform { gain: 1.0 };
        let zeros = |count: usize| Some(Initializer::Zeros.init([count], device));

        let mut conv = Conv2dConfig::new([1, CHANNELS], [3, 3])
            .with_initializer(he_uniform.clone())
            .init(device);
        let mut hidden = LinearConfig::new(FLAT, HIDDEN).with_initializer(he_uniform).init(device);
        let mut output =
            LinearConfig::new(HIDDEN, classes).with_initializer(glorot_uniform).init(device);
        (conv.bias, hidden.bias, output.bias) = (zeros(CHANNELS), zeros(HIDDEN), zeros(classes));

        let pool = MaxPool2dConfig::new([2, 2]).init();
        Self { conv, pool, hidden, output }
    }

    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, pixel / 255
    /// - output: `[batch, 100]` `f32`, at least 0
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv.forward(images)); // [batch, 32, 26, 26]
        let x = self.pool.forward(x); // [batch, 32, 13, 13]
        let x = x.flatten(1, 3); // [batch, 5408]
        relu(self.hidden.forward(x)) // [batch, 100]
    }

    /// The layer from features to logits `[batch, classes]`.
    pub const fn head(&self) -> &Linear {
        &self.output
    }
}
