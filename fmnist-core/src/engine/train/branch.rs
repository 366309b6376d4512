//! A convolution with its batch normalisation: forward with the batch's own statistics, and back to the
//! gradient of its parameters and inputs.

use super::{
    convolve::{Convolve, Correlate, Taps},
    normalise::{Moments, Normalised, Shape, Unscale},
};
use crate::{
    engine::isa::{Block, Isa, flat},
    model::NORM_EPSILON,
    weights::{NamedTensor, Tensors, WeightsError},
};

/// What a branch reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Pixels,
    /// What the stage of this index gave.
    Stage(usize),
}

/// Mean and biased variance of a batch, `[channels]`.
#[derive(Default)]
struct Statistics {
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// A convolution that keeps rows and columns, and the normalisation behind it.
pub(super) struct Branch {
    name: String,
    pub(super) source: Input,
    channels: [usize; 2],
    /// From the input to the map.
    taps: Taps,
    /// From the map's gradient to the input's.
    back: Taps,
    weights: Vec<Block>,
    back_weights: Vec<Block>,
    /// What the convolution gave, for each image.
    map: Vec<Block>,
    statistics: Statistics,
    gamma: Vec<f32>,
    scale: Vec<Block>,
    mean: Vec<Block>,
    /// The gradient of the weights, `[taps, channels, blocks]`.
    gradient: Vec<Block>,
}

impl Branch {
    pub(super) fn new(
        name: String,
        source: Input,
        channels: [usize; 2],
        size: usize,
        side: usize,
    ) -> Self {
        let [inputs, outputs] = channels.map(|channels| channels.div_ceil(Block::LANES));
        let stored = match source {
            Input::Pixels => 1,
            Input::Stage(_) => inputs * Block::LANES,
        };
        Self {
            name,
            source,
            channels,
            taps: Taps { side, channels: stored, size, blocks: outputs },
            back: Taps { side, channels: outputs * Block::LANES, size, blocks: inputs },
            weights: Vec::new(),
            back_weights: Vec::new(),
            map: Vec::new(),
            statistics: Statistics::default(),
            gamma: Vec::new(),
            scale: Vec::new(),
            mean: Vec::new(),
            gradient: Vec::new(),
        }
    }

    pub(super) const fn blocks(&self) -> usize {
        self.taps.blocks
    }

    /// Images of the last batch.
    pub(super) const fn images(&self) -> usize {
        self.map.len() / self.taps.output()
    }

    /// Takes this step's weights, and returns what the normalisation adds, `[channels]`.
    pub(super) fn take(&mut self, tensors: &Tensors) -> Result<Vec<f32>, WeightsError> {
        let ([inputs, outputs], count) = (self.channels, self.taps.count());
        let shape = [outputs, inputs, self.taps.size, self.taps.size];
        let weights = tensor(tensors, format!("{}.conv.weight", self.name), &shape)?;
        let weight = |tap: usize, input: usize, output: usize| {
            let given = input < inputs && output < outputs;
            if given { weights[(output * inputs + input) * count + tap] } else { 0.0 }
        };
        self.weights = self.taps.pack(outputs, weight);
        if let Input::Stage(_) = self.source {
            let flipped = |tap, output, input| weight(count - 1 - tap, input, output);
            self.back_weights = self.back.pack(inputs, flipped);
        }
        self.gamma = tensor(tensors, format!("{}.norm.gamma", self.name), &[outputs])?.to_vec();
        tensor(tensors, format!("{}.norm.beta", self.name), &[outputs]).map(<[f32]>::to_vec)
    }

    /// Computes the map of every image, its moments, and from them the statistics that normalise it.
    ///
    /// `inputs` are framed, `[images, side + 2, side + 2, channels]`.
    pub(super) fn forward(&mut self, isa: Isa, inputs: &[f32]) {
        let images = inputs.len() / self.taps.input();
        self.map.resize(images * self.taps.output(), Block::ZERO);
        let mut totals = Totals::new(2 * self.blocks());
        let maps = self.map.chunks_exact_mut(self.taps.output());
        for (map, input) in maps.zip(inputs.chunks_exact(self.taps.input())) {
            let (taps, weights) = (self.taps, &self.weights);
            isa.run(Convolve { taps, input, weights, output: map, add: false });
            totals.add(|moments| isa.run(Moments { map, moments }));
        }
        let count = images * self.taps.side * self.taps.side;
        let (sums, squares) = totals.0.split_at(self.blocks() * Block::LANES);
        let means = sums.iter().map(|sum| sum / count as f64);
        let (mean, variance) = means
            .zip(squares)
            .map(|(mean, square)| (mean, (square / count as f64 - mean * mean).max(0.0)))
            .take(self.channels[1])
            .unzip();
        self.statistics = Statistics { mean, variance };
        let scale = |i: usize| self.gamma[i] * self.statistics.by_deviation(i) as f32;
        self.scale = Block::pack(self.channels[1], scale).into_vec();
        self.mean = Block::pack(self.channels[1], |i| self.statistics.mean[i] as f32).into_vec();
    }

    /// What the normalisation adds beside its scale, given its bias.
    pub(super) fn shift(&self, beta: &[f32]) -> impl Iterator<Item = f32> {
        beta.iter().enumerate().map(|(i, beta)| {
            let scale = f64::from(self.gamma[i]) * self.statistics.by_deviation(i);
            (f64::from(*beta) - self.statistics.mean[i] * scale) as f32
        })
    }

    pub(super) fn normalised(&self, image: usize) -> Normalised<'_> {
        Normalised { map: self.image(image), scale: &self.scale, mean: &self.mean }
    }

    fn image(&self, image: usize) -> &[Block] {
        &self.map[image * self.taps.output()..][..self.taps.output()]
    }

    /// Batch mean and biased variance under the names of the running ones.
    pub(super) fn statistics(&self) -> [(String, Vec<f32>); 2] {
        let Statistics { mean, variance } = &self.statistics;
        [("mean", mean), ("var", variance)].map(|(which, values)| {
            let values = values.iter().map(|value| *value as f32).collect();
            (format!("{}.norm.running_{which}", self.name), values)
        })
    }

    /// Goes back from the gradients by the normalised map, `[images, side, side, blocks]`, and
    /// returns those of the parameters.
    ///
    /// `sums` are, over the batch, the gradients' and the gradients' × (number - mean). The
    /// gradients by the inputs, `[images, side, side, channels]`, are written to `outer`, or added.
    pub(super) fn backward(
        &mut self,
        isa: Isa,
        inner: &[Block],
        sums: [&[f64]; 2],
        inputs: &[f32],
        mut outer: Option<(&mut [Block], bool)>,
    ) -> Tensors {
        let side = self.taps.side;
        let count = (self.map.len() / self.blocks()) as f64;
        let outputs = self.channels[1];
        // (Ioffe and Szegedy 2015): γ/σ · (g - mean g - x̂ · mean(g·x̂)), with x̂ = (number - mean)/σ
        let factors = |i: usize| {
            let by_deviation = self.statistics.by_deviation(i);
            let scale = f64::from(self.gamma[i]) * by_deviation;
            let slope = -scale * by_deviation * by_deviation * sums[1][i] / count;
            [scale, slope, -scale * sums[0][i] / count - slope * self.statistics.mean[i]]
        };
        let factors = [0, 1, 2].map(|which| Block::pack(outputs, |i| factors(i)[which] as f32));
        let factors = factors.each_ref().map(|blocks| &**blocks);
        let shape = Shape { side, blocks: self.blocks(), pooled: false };
        let mut frame = vec![Block::ZERO; (side + 2) * (side + 2) * self.blocks()];
        self.gradient.clear();
        self.gradient.resize(self.taps.count() * self.taps.channels * self.blocks(), Block::ZERO);

        let maps =
            inner.chunks_exact(self.taps.output()).zip(self.map.chunks_exact(self.taps.output()));
        for (image, (gradient, map)) in maps.enumerate() {
            isa.run(Unscale { shape, gradient, map, factors, output: &mut frame });
            let (taps, input) = (self.taps, &inputs[image * self.taps.input()..]);
            let sums = &mut self.gradient;
            isa.run(Correlate { taps, input, gradient: &frame, sums });
            if let Some((outer, add)) = &mut outer {
                let (taps, weights, input) = (self.back, &self.back_weights, flat(&frame));
                let output = &mut outer[image * taps.output()..][..taps.output()];
                isa.run(Convolve { taps, input, weights, output, add: *add });
            }
        }
        self.gradients(sums)
    }

    fn gradients(&self, sums: [&[f64]; 2]) -> Tensors {
        let ([inputs, outputs], count) = (self.channels, self.taps.count());
        let summed = flat(&self.gradient);
        let weights = (0..outputs * inputs * count).map(|i| {
            let (output, input, tap) = (i / count / inputs, i / count % inputs, i % count);
            summed[(tap * self.taps.channels + input) * self.blocks() * Block::LANES + output]
        });
        let gamma = (0..outputs).map(|i| (sums[1][i] * self.statistics.by_deviation(i)) as f32);
        let beta = sums[0][..outputs].iter().map(|sum| *sum as f32);
        let size = self.taps.size;
        let tensor = |which: &str, shape: &[usize], values: Vec<f32>| {
            (format!("{}.{which}", self.name), NamedTensor { shape: shape.to_vec(), values })
        };
        Tensors::from([
            tensor("conv.weight", &[outputs, inputs, size, size], weights.collect()),
            tensor("norm.gamma", &[outputs], gamma.collect()),
            tensor("norm.beta", &[outputs], beta.collect()),
        ])
    }
}

impl Statistics {
    fn by_deviation(&self, channel: usize) -> f64 {
        1.0 / (self.variance[channel] + NORM_EPSILON).sqrt()
    }
}

/// Sums over images, of which each is exact enough in `f32`.
pub(super) struct Totals(pub(super) Vec<f64>, Vec<Block>);

impl Totals {
    pub(super) fn new(blocks: usize) -> Self {
        Self(vec![0.0; blocks * Block::LANES], vec![Block::ZERO; blocks])
    }

    /// Adds what one image adds to zeros.
    pub(super) fn add(&mut self, image: impl FnOnce(&mut [Block])) {
        self.1.fill(Block::ZERO);
        image(&mut self.1);
        self.0.iter_mut().zip(flat(&self.1)).for_each(|(total, sum)| *total += f64::from(*sum));
    }
}

fn tensor<'a>(
    tensors: &'a Tensors,
    name: String,
    shape: &[usize],
) -> Result<&'a [f32], WeightsError> {
    match tensors.get(&name) {
        Some(tensor) => tensor.of_shape(&name, shape),
        None => Err(WeightsError::MissingTensor { name }),
    }
}
