//! candle: both networks in its tensors, on parameters with batch normalisation folded in.
//!
//! Its threads are those of `RAYON_NUM_THREADS`.

use std::collections::HashMap;

use candle_core::{Device, Tensor, safetensors};
use fmnist_core::Image;
use fmnist_peers::{Description, Load, Peer, locked_version};

struct Candle {
    load: Load,
    parameters: HashMap<String, Tensor>,
}

fn main() -> anyhow::Result<()> {
    fmnist_peers::serve::<Candle>()
}

impl Candle {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        match &*self.load.model {
            "notebook" => self.notebook(images),
            "base" => self.base(images),
            other => candle_core::bail!("unknown model {other}"),
        }
    }

    fn notebook(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.conv("conv", images, 0)?.relu()?.max_pool2d(2)?;
        let x = self.dense("hidden", &x.flatten_from(1)?)?.relu()?;
        self.dense("output", &x)
    }

    fn base(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.conv("stem", images, 1)?.relu()?;
        for block in 0..3 {
            let input = x.max_pool2d(2)?;
            let first = self.conv(&format!("blocks.{block}.first"), &input, 1)?.relu()?;
            let second = self.conv(&format!("blocks.{block}.second"), &first, 1)?;
            let skip = self.conv(&format!("blocks.{block}.skip"), &input, 0)?;
            x = (second + skip)?.relu()?;
        }
        self.dense("output", &x.flatten_from(1)?)
    }

    fn conv(&self, name: &str, x: &Tensor, padding: usize) -> candle_core::Result<Tensor> {
        let bias = self.parameter(name, "bias").reshape((1, (), 1, 1))?;
        x.conv2d(self.parameter(name, "weight"), padding, 1, 1, 1)?.broadcast_add(&bias)
    }

    fn dense(&self, name: &str, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(self.parameter(name, "weight"))?.broadcast_add(self.parameter(name, "bias"))
    }

    fn parameter(&self, layer: &str, kind: &str) -> &Tensor {
        &self.parameters[&format!("{layer}.{kind}")]
    }
}

impl Peer for Candle {
    type Input = Tensor;
    type Output = Tensor;

    fn load(load: Load) -> anyhow::Result<Self> {
        let parameters = safetensors::load(&load.file, &Device::Cpu)?;
        Ok(Self { load, parameters })
    }

    fn description(&self) -> Description {
        Description { name: format!("candle {}", locked_version("candle-core")), precision: "f32" }
    }

    fn prepare(&mut self, images: &[Image]) -> anyhow::Result<Self::Input> {
        let shape = (images.len(), 1, Image::HEIGHT, Image::WIDTH);
        Ok(Tensor::from_vec(self.load.normalised(images), shape, &Device::Cpu)?)
    }

    fn run(&mut self, input: &Self::Input) -> anyhow::Result<Self::Output> {
        Ok(self.forward(input)?)
    }

    fn logits(&mut self, input: &Self::Input) -> anyhow::Result<Vec<f32>> {
        Ok(self.run(input)?.flatten_all()?.to_vec1()?)
    }
}
