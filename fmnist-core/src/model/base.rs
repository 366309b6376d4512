use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

/// A small residual network that pools instead of striding and ends on a flattened 3×3 map:
/// 79 k parameters for ten classes, 4.9 million multiply-adds an image.
#[derive(Module, Debug)]
pub struct Base {
    stem: ConvNorm,
    blocks: [Block; 3],
    pool: MaxPool2d,
    dropout: Dropout,
    output: Linear,
}

impl Base {
    /// Initialises the weights at random.
    pub fn new(classes: usize, device: &Device) -> Self {
        Self {
            stem: ConvNorm::new([1, 16], 3, device),
            blocks: [[16, 32], [32, 48], [48, 32]].map(|widths| Block::new(widths, device)),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            output: LinearConfig::new(32 * 3 * 3, classes).init(device),
        }
    }

    /// # Shapes
    /// - `images`: `[batch, 1, 28, 28]` `f32`, normalised
    /// - output: logits `[batch, classes]` `f32`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(images)); // [batch, 16, 28, 28]
        for block in &self.blocks {
            x = block.forward(self.pool.forward(x)); // [_, 32, 14, 14], [_, 48, 7, 7], [_, 32, 3, 3]
        }
        let x = self.dropout.forward(x.flatten(1, 3)); // [batch, 288]
        self.output.forward(x) // [batch, classes]
    }
}

/// Two 3×3 convolutions beside a 1×1 one that carries the input across the change of width.
#[derive(Module, Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    skip: ConvNorm,
}

impl Block {
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
    fn new(channels: [usize; 2], kernel: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new(channels, [kernel, kernel])
            .with_padding(PaddingConfig2d::Same)
            .with_bias(false)
            .init(device);
        Self { conv, norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}
