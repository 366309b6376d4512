use burn::{
    module::{Initializer, Module},
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

/// The old notebook's Keras network, layer for layer: 542,230 parameters for ten classes.
///
/// Keras flattens height, width, channel where Burn flattens channel, height, width; the first
/// dense layer's rows are permuted accordingly, which nothing else can see.
#[derive(Module, Debug)]
pub struct Notebook {
    conv: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    output: Linear,
}

impl Notebook {
    /// Initialises the weights as Keras did: `he_uniform`, Glorot for the last layer, biases 0.
    pub fn new(classes: usize, device: &Device) -> Self {
        let he_uniform = Initializer::KaimingUniform { gain: 2.0_f64.sqrt(), fan_out_only: false };
        let glorot_uniform = Initializer::XavierUniform { gain: 1.0 };
        let zeros = |count: usize| Some(Initializer::Zeros.init([count], device));

        let mut conv =
            Conv2dConfig::new([1, 32], [3, 3]).with_initializer(he_uniform.clone()).init(device);
        let mut hidden =
            LinearConfig::new(32 * 13 * 13, 100).with_initializer(he_uniform).init(device);
        let mut output =
            LinearConfig::new(100, classes).with_initializer(glorot_uniform).init(device);
        (conv.bias, hidden.bias, output.bias) = (zeros(32), zeros(100), zeros(classes));

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
