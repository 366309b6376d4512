use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

/// Two 3×3 convolutions beside a 1×1 one that carries the input across the change of width.
#[derive(Module, Debug)]
pub(super) struct Block {
    first: ConvNorm,
    second: ConvNorm,
    skip: ConvNorm,
}

impl Block {
    pub(super) fn new([input, output]: [usize; 2], device: &Device) -> Self {
        Self {
            first: ConvNorm::new([input, output], 3, device),
            second: ConvNorm::new([output, output], 3, device),
            skip: ConvNorm::new([input, output], 1, device),
        }
    }

    /// `[batch, input, height, width]` to `[batch, output, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        relu(y + self.skip.forward(x))
    }
}

/// A convolution that keeps height and width, then batch normalisation (which has the bias).
#[derive(Module, Debug)]
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    pub(super) fn new(channels: [usize; 2], kernel: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new(channels, [kernel, kernel])
            .with_padding(PaddingConfig2d::Same)
            .with_bias(false)
            .init(device);
        Self { conv, norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    /// `[batch, input, height, width]` to `[batch, output, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}
