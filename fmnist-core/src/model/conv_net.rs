//! The module of a network of units, built and run row by row.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use super::{
    Architecture,
    architecture::{Kind, Unit},
};

/// The network of units that is number `N` of [`Architecture::ALL`]; it pools instead of striding, and its
/// last layer reads the flattened map.
#[derive(Module, Debug)]
pub struct ConvNet<const N: usize> {
    stem: ConvNorm,
    /// The residual units.
    blocks: Vec<Residual>,
    /// The plain ones behind the stem.
    layers: Vec<ConvNorm>,
    pool: MaxPool2d,
    output: Linear,
}

impl<const N: usize> ConvNet<N> {
    /// Initialises the weights at random.
    ///
    /// # Panics
    /// If the network is not one of units, as the notebook's.
    pub fn new(classes: usize, device: &Device) -> Self {
        let units = Architecture::ALL[N].units();
        let [stem, .., last] = units.as_slice() else { panic!("a network has units") };
        let of = |kind| units[1..].iter().filter(move |unit| unit.kind == kind);
        let plain = |unit: &Unit| ConvNorm::new(unit.channels, 3, device);
        Self {
            stem: plain(stem),
            blocks: of(Kind::Residual).map(|unit| Residual::new(unit.channels, device)).collect(),
            layers: of(Kind::Plain).map(plain).collect(),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            output: LinearConfig::new(last.outputs(), classes).init(device),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: `[batch, features]` `f32`, at least 0
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let mut blocks = self.blocks.iter();
        let mut layers = [&self.stem].into_iter().chain(&self.layers);
        let mut x = images;
        for row in Architecture::ALL[N].rows() {
            x = match row.kind {
                Kind::Plain => relu(layers.next().expect("one for each row").forward(x)),
                Kind::Residual => blocks.next().expect("one for each row").forward(x),
            };
            if row.pooled {
                x = self.pool.forward(x);
            }
        }
        x.flatten(1, 3)
    }

    /// The layer from features to logits `[batch, classes]`.
    pub const fn head(&self) -> &Linear {
        &self.output
    }
}

/// Two 3×3 convolutions beside a 1×1 one that carries the input across the change of width.
#[derive(Module, Debug)]
struct Residual {
    first: ConvNorm,
    second: ConvNorm,
    skip: ConvNorm,
}

impl Residual {
    fn new([input, output]: [usize; 2], device: &Device) -> Self {
        Self {
            first: ConvNorm::new([input, output], 3, device),
            second: ConvNorm::new([output, output], 3, device),
            skip: ConvNorm::new([input, output], 1, device),
        }
    }

    /// `[batch, input, height, width]` to `[batch, output, height, width]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        relu(y + self.skip.forward(x))
    }
}

/// A convolution that keeps height and width, then batch normalisation (which has the bias).
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], side: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new(channels, [side, side])
            .with_padding(PaddingConfig2d::Same)
            .with_bias(false)
            .init(device);
        Self { conv, norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    /// `[batch, input, height, width]` to `[batch, output, height, width]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}
