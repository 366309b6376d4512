//! Plain Burn: the networks that the weights were trained as, on its Flex backend.
//!
//! Its threads are those of `RAYON_NUM_THREADS`. Every other peer is compared with its logits.

use std::fs;

use burn::tensor::{Device, Tensor, TensorData};
use fmnist_core::{Image, model::Network, weights::Weights};
use fmnist_peers::{Description, Load, Peer, locked_version};

struct Burn {
    load: Load,
    device: Device,
    network: Network,
}

fn main() -> anyhow::Result<()> {
    fmnist_peers::serve::<Burn>()
}

impl Peer for Burn {
    type Input = Tensor<4>;
    type Output = TensorData;

    fn load(load: Load) -> anyhow::Result<Self> {
        let device = Device::flex();
        let network = Weights::from_bytes(&fs::read(&load.file)?)?.network(&device)?;
        Ok(Self { load, device, network })
    }

    fn description(&self) -> Description {
        Description { name: format!("Burn Flex {}", locked_version("burn")), precision: "f32" }
    }

    fn prepare(&mut self, images: &[Image]) -> anyhow::Result<Self::Input> {
        let shape = [images.len(), 1, Image::HEIGHT, Image::WIDTH];
        let data = TensorData::new(self.load.normalised(images), shape);
        Ok(Tensor::from_data(data, &self.device))
    }

    fn run(&mut self, input: &Self::Input) -> anyhow::Result<Self::Output> {
        Ok(self.network.forward(input.clone()).try_into_data()?)
    }

    fn logits(&mut self, input: &Self::Input) -> anyhow::Result<Vec<f32>> {
        Ok(self.run(input)?.iter::<f32>().collect())
    }
}
