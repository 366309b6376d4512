//! From a weights file to the steps of a plan: folding and packing, in `f64`.

use std::collections::BTreeMap;

use super::{
    Kernel, Plan,
    kernel::{Block, Matrix, SparseDense, Stem, Winograd},
    layout::Layout,
    plan::{Slot, Step},
};
use crate::{
    model::{Architecture, Normalisation},
    weights::{NamedTensor, Weights, WeightsError},
};

/// What Burn's batch normalisation adds to a variance.
const EPSILON: f64 = 1e-5;

impl Plan {
    /// Compiles a network's weights for a kernel.
    ///
    /// # Errors
    /// [`WeightsError::Architecture`], or where tensors and network disagree.
    ///
    /// # Panics
    /// If this processor does not have the kernel.
    pub fn compile(weights: &Weights, kernel: Kernel) -> Result<Self, WeightsError> {
        assert!(kernel.is_available(), "the kernel {kernel} is not available");
        let classes = weights.metadata.classes.len();
        let mut compiler = Compiler {
            tensors: weights.tensors.iter().map(|(name, tensor)| (&**name, tensor)).collect(),
            normalisation: weights.metadata.normalisation,
            steps: Vec::new(),
            layouts: Vec::new(),
        };
        match weights.architecture()? {
            Architecture::Notebook => compiler.notebook(classes)?,
            Architecture::Base => compiler.base(classes)?,
        }
        match compiler.tensors.into_keys().next() {
            Some(name) => Err(WeightsError::UnknownTensor { name: name.to_owned() }),
            None => Ok(Self::new(kernel, classes, compiler.steps, compiler.layouts)),
        }
    }
}

/// A plan under construction.
struct Compiler<'a> {
    /// Those that are still to be used.
    tensors: BTreeMap<&'a str, &'a NamedTensor>,
    normalisation: Normalisation,
    steps: Vec<Step>,
    layouts: Vec<Layout>,
}

/// A convolution with everything linear folded in.
struct Folded {
    /// `[outputs, inputs, side, side]`
    weights: Vec<f64>,
    bias: Vec<f64>,
    inputs: usize,
    side: usize,
}

impl Folded {
    fn weight(&self, output: usize, input: usize, row: usize, column: usize) -> f64 {
        self.weights[((output * self.inputs + input) * self.side + row) * self.side + column]
    }

    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn packed_bias(&self) -> Box<[Block]> {
        Block::pack(self.outputs(), |output| self.bias[output] as f32)
    }
}

impl Compiler<'_> {
    /// [`Notebook`](crate::model::Notebook)
    fn notebook(&mut self, classes: usize) -> Result<(), WeightsError> {
        let weights = self.take("conv.weight", &[32, 1, 3, 3])?;
        let bias = self.take("conv.bias", &[32])?;
        let conv = Folded { weights, bias, inputs: 1, side: 3 };
        let pooled = self.stem(conv, false, Layout::dense(13, 2));

        let (weight, bias) = self.dense("hidden", 32 * 13 * 13, 100)?;
        let hidden = self.slot(Layout::dense(1, SparseDense::BLOCKS));
        let row = channels_last(32, 13 * 13);
        let blocks = (0..32 * 13 * 13)
            .flat_map(|input| Block::pack(100, |output| weight[row(input) * 100 + output] as f32));
        let weights = blocks.collect();
        let layer = SparseDense { weights, bias: Block::pack(100, |output| bias[output] as f32) };
        self.steps.push(Step::SparseDense { layer, input: pooled, output: hidden });

        let row = |input: usize| (input < 100).then_some(input);
        self.output(hidden, 100, SparseDense::BLOCKS * Block::LANES, row, classes)
    }

    /// [`Base`](crate::model::Base)
    fn base(&mut self, classes: usize) -> Result<(), WeightsError> {
        let conv = self.conv_norm("stem", [1, 16], 3)?;
        let mut x = self.stem(conv, true, Layout::bordered(14, 1));
        let widths = [[16, 32], [32, 48], [48, 32]];
        for (block, (channels, side)) in widths.into_iter().zip([14, 7, 3]).enumerate() {
            x = self.block(block, channels, side, x)?;
        }
        let row = channels_last(32, 3 * 3);
        self.output(x, 32 * 3 * 3, 32 * 3 * 3, |input| Some(row(input)), classes)
    }

    /// One residual block; all but the last are pooled.
    fn block(
        &mut self,
        block: usize,
        [inputs, outputs]: [usize; 2],
        side: usize,
        input: Slot,
    ) -> Result<Slot, WeightsError> {
        let name = |part: &str| format!("blocks.{block}.{part}");
        let blocks = outputs.div_ceil(Block::LANES);
        let last = side == 3;

        let folded = self.conv_norm(&name("skip"), [inputs, outputs], 1)?;
        let layer = Matrix::pack(
            inputs,
            outputs,
            |output| folded.bias[output] as f32,
            |input, output| folded.weight(output, input, 0, 0) as f32,
        );
        let skip = self.slot(Layout::dense(side, blocks));
        self.steps.push(Step::Pointwise { layer, input, output: skip });

        let first = self.conv_norm(&name("first"), [inputs, outputs], 3)?;
        let layer = winograd(&first, false);
        let middle = self.slot(Layout::bordered(side, blocks));
        self.steps.push(Step::Winograd { layer, input, residual: None, output: middle });

        let second = self.conv_norm(&name("second"), [outputs, outputs], 3)?;
        let layer = winograd(&second, !last);
        let layout =
            if last { Layout::dense(side, blocks) } else { Layout::bordered(side / 2, blocks) };
        let output = self.slot(layout);
        self.steps.push(Step::Winograd { layer, input: middle, residual: Some(skip), output });
        Ok(output)
    }

    /// The first convolution, over pixels: with `p` a pixel, `w · (p · scale + offset)` is
    /// `(w · scale) · p + w · offset`, and a border of normalised zeros is one of `-offset / scale`.
    fn stem(&mut self, conv: Folded, padded: bool, layout: Layout) -> Slot {
        let Normalisation { mean, deviation } = self.normalisation;
        let (mean, deviation) = (f64::from(mean), f64::from(deviation));
        let taps = |output: usize| (0..9).map(move |tap| (output, 0, tap / 3, tap % 3));
        let weight = |(output, input, row, column)| conv.weight(output, input, row, column);
        let outputs = conv.outputs();
        let weights = (0..9).flat_map(|tap| {
            let scaled = |output| weight((output, 0, tap / 3, tap % 3)) / (255.0 * deviation);
            Block::pack(outputs, |output| scaled(output) as f32)
        });
        let bias = |output: usize| {
            let sum: f64 = taps(output).map(weight).sum();
            conv.bias[output] - sum * mean / deviation
        };
        let layer = Stem {
            weights: weights.collect(),
            bias: Block::pack(outputs, |output| bias(output) as f32),
            border: padded.then_some((mean * 255.0) as f32),
        };
        let output = self.slot(layout);
        self.steps.push(Step::Stem { layer, output });
        output
    }

    /// The last layer: `row` tells which row of the weights belongs to an input, if any does.
    fn output(
        &mut self,
        input: Slot,
        features: usize,
        depth: usize,
        row: impl Fn(usize) -> Option<usize>,
        classes: usize,
    ) -> Result<(), WeightsError> {
        let (weight, bias) = self.dense("output", features, classes)?;
        let layer = Matrix::pack(
            depth,
            classes,
            |class| bias[class] as f32,
            |input, class| row(input).map_or(0.0, |row| weight[row * classes + class] as f32),
        );
        let output = self.slot(Layout::dense(1, layer.blocks()));
        self.steps.push(Step::Dense { layer, input, output });
        Ok(())
    }

    fn slot(&mut self, layout: Layout) -> Slot {
        self.layouts.push(layout);
        self.layouts.len() - 1
    }

    /// A dense layer's weights, `[inputs, outputs]`, and its bias.
    fn dense(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<(Vec<f64>, Vec<f64>), WeightsError> {
        let weight = self.take(&format!("{name}.weight"), &[inputs, outputs])?;
        Ok((weight, self.take(&format!("{name}.bias"), &[outputs])?))
    }

    /// A convolution without bias and the batch normalisation behind it.
    fn conv_norm(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Folded, WeightsError> {
        let mut weights =
            self.take(&format!("{name}.conv.weight"), &[outputs, inputs, side, side])?;
        let mut norm = |part: &str| self.take(&format!("{name}.norm.{part}"), &[outputs]);
        let (gamma, beta) = (norm("gamma")?, norm("beta")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, var)| gamma / (var + EPSILON).sqrt())
            .collect();
        if let Some(position) = scale.iter().position(|scale| !scale.is_finite()) {
            let (name, found) = (format!("{name}.norm.running_var"), variance[position] as f32);
            return Err(WeightsError::NotFinite { name, position, found });
        }
        for (weights, scale) in weights.chunks_mut(inputs * side * side).zip(&scale) {
            weights.iter_mut().for_each(|weight| *weight *= scale);
        }
        let bias = (0..outputs).map(|output| beta[output] - mean[output] * scale[output]);
        Ok(Folded { weights, bias: bias.collect(), inputs, side })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f64>, WeightsError> {
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| WeightsError::MissingTensor { name: name.to_owned() })?;
        if tensor.shape != shape {
            let (name, expected, found) = (name.to_owned(), shape.to_vec(), tensor.shape.clone());
            return Err(WeightsError::Shape { name, expected, found });
        }
        Ok(tensor.values.iter().copied().map(f64::from).collect())
    }
}

fn winograd(folded: &Folded, pool: bool) -> Winograd {
    let channels = [folded.inputs, folded.outputs()];
    let weight = |output, input, row, column| folded.weight(output, input, row, column);
    Winograd::new(channels, weight, folded.packed_bias(), pool)
}

/// Burn flattens a map channel by channel, a plan position by position: the row of a dense layer's
/// weights for an input of the plan's.
fn channels_last(channels: usize, positions: usize) -> impl Fn(usize) -> usize {
    move |input| input % channels * positions + input / channels
}
