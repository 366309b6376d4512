//! A network of two layers, and readings to train it with: two moons, interlocked.

use std::f32::consts::PI;

use burn::{
    data::{
        dataloader::{DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

/// What sensors say of a bearing, in °C and mm/s.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Reading {
    pub(crate) temperature: f32,
    pub(crate) vibration: f32,
}

/// Makes tensors of readings, scaled as the training data were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaled {
    mean: [f32; 2],
    deviation: [f32; 2],
}

impl Scaled {
    fn of(readings: &[(Reading, i32)]) -> Self {
        let count = readings.len() as f32;
        let column = |of: fn(&Reading) -> f32| {
            let mean = readings.iter().map(|(reading, _)| of(reading)).sum::<f32>() / count;
            let squares = readings.iter().map(|(reading, _)| (of(reading) - mean).powi(2));
            (mean, (squares.sum::<f32>() / count).sqrt())
        };
        let (temperature, vibration) = (column(|r| r.temperature), column(|r| r.vibration));
        Self { mean: [temperature.0, vibration.0], deviation: [temperature.1, vibration.1] }
    }
}

/// # Shapes
/// - output: `[readings, 2]` `f32`, mean 0 and deviation 1 over the training data
impl Batcher<Reading, Tensor<2>> for Scaled {
    fn batch(&self, readings: Vec<Reading>, device: &Device) -> Tensor<2> {
        let scaled =
            |value: f32, column: usize| (value - self.mean[column]) / self.deviation[column];
        let row = |r: &Reading| [scaled(r.temperature, 0), scaled(r.vibration, 1)];
        let values: Vec<f32> = readings.iter().flat_map(row).collect();
        Tensor::from_data(TensorData::new(values, [readings.len(), 2]), device)
    }
}

/// With the labels, as training needs it.
impl Batcher<(Reading, i32), (Tensor<2>, Tensor<1, Int>)> for Scaled {
    fn batch(&self, items: Vec<(Reading, i32)>, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let (readings, labels): (Vec<Reading>, Vec<i32>) = items.into_iter().unzip();
        (self.batch(readings, device), Tensor::from_ints(&*labels, device))
    }
}

/// Two layers: sound is 0 and worn is 1.
#[derive(Module, Debug)]
pub(crate) struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    /// # Shapes
    /// - `readings`: `[batch, 2]` `f32`, scaled
    /// - output: `[batch, 2]` `f32`, logits of sound and worn
    pub(crate) fn forward(&self, readings: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(readings)))
    }
}

/// A thousand readings, half of them of worn bearings.
pub(crate) fn readings(seed: u64) -> Vec<(Reading, i32)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let reading = |index: i32| {
        let angle = random.random_range(0.0..PI);
        let (label, x, y) = match index % 2 {
            0 => (0, angle.cos(), angle.sin()),
            _ => (1, 1.0 - angle.cos(), 0.5 - angle.sin()),
        };
        let [x, y] = [x, y].map(|clean: f32| clean + random.random_range(-0.1..0.1));
        (Reading { temperature: 60.0 + 10.0 * x, vibration: 4.0 + 2.0 * y }, label)
    };
    (0..1_000).map(reading).collect()
}

/// Takes a second or two.
pub(crate) fn train(seed: u64) -> anyhow::Result<(Network, Scaled)> {
    let (device, data) = (Device::flex().autodiff(), readings(seed));
    device.seed(seed);
    let batcher = Scaled::of(&data);
    let loader = DataLoaderBuilder::new(batcher).batch_size(50).shuffle(seed);
    let loader = loader.set_device(device.clone()).build(InMemDataset::new(data));
    let mut network = Network {
        hidden: LinearConfig::new(2, 32).init(&device),
        output: LinearConfig::new(32, 2).init(&device),
    };
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimiser = AdamWConfig::new().init();
    for _ in 0..30 {
        for batch in loader.iter() {
            let (readings, labels) = batch?;
            let gradients = loss.forward(network.forward(readings), labels).backward();
            let gradients = GradientsParams::from_grads(gradients, &network);
            network = optimiser.step(0.01, network, gradients);
        }
    }
    Ok((network, batcher))
}
