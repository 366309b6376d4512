//! From a weights file to the steps of a plan: folding and packing, in `f64`.

mod folded;
mod networks;

use std::collections::BTreeMap;

use folded::Folded;

use super::{
    Plan,
    isa::{Block, Kernel},
    layout::Layout,
    ops::{ByteLayer, ByteStem, SparseDense, Stem, Winograd},
    plan::{Feature, Slot, Step},
};
use crate::{
    image::Image,
    model::Normalisation,
    weights::{NamedTensor, Weights, WeightsError},
};

/// What a plan computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// `f32`, within rounding of the network.
    F32,
    /// Bytes, with weights of ±127 for each output channel; the sums are exact.
    Int8,
}

impl Plan {
    /// Compiles a network's weights for a kernel.
    ///
    /// # Errors
    /// [`WeightsError::Architecture`], or where tensors and network disagree;
    /// [`WeightsError::Activation`] if the weights were not calibrated for [`Precision::Int8`].
    ///
    /// # Panics
    /// If this processor does not have the kernel.
    pub fn compile(
        weights: &Weights,
        precision: Precision,
        kernel: Kernel,
    ) -> Result<Self, WeightsError> {
        assert!(kernel.is_available(), "the kernel {kernel} is not available");
        let (compiler, classes) = Compiler::run(weights, precision)?;
        Ok(Self::new(kernel, classes, compiler.steps, compiler.features))
    }
}

/// The largest activations of a network on these images, by the name of the layer: what
/// [`Precision::Int8`] represents. Its place is
/// [`Metadata::activations`](crate::weights::Metadata::activations).
///
/// # Errors
/// As [`Plan::compile`].
pub fn activations(
    weights: &Weights,
    images: &[Image],
) -> Result<BTreeMap<String, f32>, WeightsError> {
    let (compiler, classes) = Compiler::run(weights, Precision::F32)?;
    let names = compiler.names.clone();
    let plan = Plan::new(Kernel::best(), classes, compiler.steps, compiler.features);
    let largest = plan.largest(images);
    Ok(names.into_iter().map(|(name, slot)| (name, largest[slot])).collect())
}

/// A plan under construction.
struct Compiler<'a> {
    weights: &'a Weights,
    precision: Precision,
    /// Those that are still to be used.
    tensors: BTreeMap<&'a str, &'a NamedTensor>,
    steps: Vec<Step>,
    features: Vec<Feature>,
    /// What a step of each slot is worth, if it holds bytes.
    step_sizes: Vec<f64>,
    /// The layers whose activations are bytes with [`Precision::Int8`].
    names: Vec<(String, Slot)>,
}

impl<'a> Compiler<'a> {
    fn run(weights: &'a Weights, precision: Precision) -> Result<(Self, usize), WeightsError> {
        let classes = weights.metadata.classes.len();
        let mut compiler = Self {
            weights,
            precision,
            tensors: weights.tensors.iter().map(|(name, tensor)| (&**name, tensor)).collect(),
            steps: Vec::new(),
            features: Vec::new(),
            step_sizes: Vec::new(),
            names: Vec::new(),
        };
        match weights.architecture()?.units().as_slice() {
            [] => compiler.notebook(classes)?,
            units => compiler.units(units, classes)?,
        }
        match compiler.tensors.keys().next() {
            Some(name) => Err(WeightsError::UnknownTensor { name: (*name).to_owned() }),
            None => Ok((compiler, classes)),
        }
    }

    /// Zeros around a map, as far as the next convolution reaches.
    fn bordered(&self, side: usize, blocks: usize) -> Layout {
        match self.precision {
            Precision::F32 => Layout::bordered(side, blocks),
            Precision::Int8 => Layout::framed(side, blocks),
        }
    }

    /// The first convolution, over pixels: with `p` a pixel, `w · (p · scale + offset)` is
    /// `(w · scale) · p + w · offset`, and a border of normalised zeros is one of `-offset / scale`.
    fn stem(
        &mut self,
        name: &str,
        conv: &Folded,
        padded: bool,
        layout: Layout,
    ) -> Result<Slot, WeightsError> {
        let Normalisation { mean, deviation } = self.weights.metadata.normalisation;
        let (mean, deviation) = (f64::from(mean), f64::from(deviation));
        let offset =
            |(weights, bias): (&[f64], &f64)| bias - weights.iter().sum::<f64>() * mean / deviation;
        let over_pixels = Folded {
            weights: conv.weights.iter().map(|weight| weight / (255.0 * deviation)).collect(),
            bias: conv.weights.chunks(9).zip(&conv.bias).map(offset).collect(),
            ..*conv
        };
        let border = padded.then_some(mean * 255.0);
        let output = self.activation(name, layout)?;
        self.steps.push(match self.precision {
            Precision::F32 => {
                let weights = (0..9).flat_map(|tap| {
                    let weight = |output| over_pixels.weight(output, 0, tap) as f32;
                    Block::pack(over_pixels.outputs(), weight)
                });
                let (weights, bias) = (weights.collect(), over_pixels.packed_bias());
                let border = border.map(|border| border as f32);
                Step::Stem { layer: Stem { weights, bias, border }, output }
            }
            Precision::Int8 => {
                let real = over_pixels.real(1.0, self.step_sizes[output]);
                let border = border.map(|border| border.round_ties_even() as u8);
                Step::ByteStem { layer: ByteStem::new(&real, border), output }
            }
        });
        Ok(output)
    }

    /// A 3×3 convolution with ReLU.
    fn convolution(
        &mut self,
        name: &str,
        conv: &Folded,
        input: Slot,
        residual: Option<Slot>,
        layout: Layout,
    ) -> Result<Slot, WeightsError> {
        let from = self.features[input].layout;
        let pool = layout.side < from.side;
        if self.precision == Precision::F32 {
            let output = self.activation(name, layout)?;
            let layer = Winograd::new(
                conv.inputs,
                conv.outputs(),
                &conv.weights,
                {
                    if residual.is_some() {
                        Block::pack(conv.outputs(), |_| 0.0)
                    } else {
                        conv.packed_bias()
                    }
                },
                pool,
            );
            self.steps.push(Step::Winograd { layer, input, residual, output });
            return Ok(output);
        }
        let whole = if pool { Layout::dense(from.side, layout.blocks) } else { layout };
        let output = self.activation(name, whole)?;
        let real = conv.real(self.step_sizes[input], self.step_sizes[output]);
        let layer = ByteLayer::new(&real, &from);
        let positions = whole.positions().collect();
        self.steps.push(Step::Steps { layer, input, residual, output, positions });
        if !pool {
            return Ok(output);
        }
        let pooled = self.slot(layout, true, self.step_sizes[output]);
        self.steps.push(Step::BytePool { input: output, output: pooled });
        Ok(pooled)
    }

    /// A 1×1 convolution to numbers, in the steps of the layer that adds them.
    fn pointwise(&mut self, adder: &str, conv: &Folded, input: Slot) -> Result<Slot, WeightsError> {
        let from = self.features[input].layout;
        let output = self.slot(Layout::dense(from.side, conv.blocks()), false, 1.0);
        self.steps.push(match self.precision {
            Precision::F32 => Step::Pointwise { layer: conv.matrix(conv.inputs), input, output },
            Precision::Int8 => {
                let real = conv.real(self.step_sizes[input], self.step_size(adder)?);
                Step::Numbers { layer: ByteLayer::new(&real, &from), input, output }
            }
        });
        Ok(output)
    }

    /// The notebook's dense layer with ReLU.
    fn hidden(&mut self, dense: &Folded, input: Slot) -> Result<Slot, WeightsError> {
        let output = self.activation("hidden", Layout::dense(1, SparseDense::BLOCKS))?;
        self.steps.push(match self.precision {
            Precision::F32 => {
                let blocks = dense.blocks();
                let weights = (0..dense.inputs * blocks).map(|index| {
                    let (input, block) = (index / blocks, index % blocks);
                    let weight = |output| dense.weight(output, input, 0) as f32;
                    Block::from_fn(block, dense.outputs(), weight)
                });
                let layer = SparseDense { weights: weights.collect(), bias: dense.packed_bias() };
                Step::SparseDense { layer, input, output }
            }
            Precision::Int8 => {
                let real = dense.real(self.step_sizes[input], self.step_sizes[output]);
                let layer = ByteLayer::new(&real, &self.features[input].layout.flattened());
                Step::Steps { layer, input, residual: None, output, positions: [0].into() }
            }
        });
        Ok(output)
    }

    /// The last layer.
    fn output(&mut self, dense: &Folded, input: Slot) {
        let from = self.features[input].layout.flattened();
        let output = self.slot(Layout::dense(1, dense.blocks()), false, 1.0);
        self.steps.push(match self.precision {
            Precision::F32 => {
                let layer = dense.matrix(from.blocks * Block::LANES);
                Step::Dense { layer, input, output }
            }
            Precision::Int8 => {
                let real = dense.real(self.step_sizes[input], 1.0);
                Step::Numbers { layer: ByteLayer::new(&real, &from), input, output }
            }
        });
    }

    /// A slot for what a layer's ReLU leaves.
    fn activation(&mut self, name: &str, layout: Layout) -> Result<Slot, WeightsError> {
        let bytes = self.precision == Precision::Int8;
        let step_size = if bytes { self.step_size(name)? } else { 1.0 };
        let slot = self.slot(layout, bytes, step_size);
        self.names.push((name.to_owned(), slot));
        Ok(slot)
    }

    fn slot(&mut self, layout: Layout, bytes: bool, step_size: f64) -> Slot {
        self.features.push(Feature { layout, bytes });
        self.step_sizes.push(step_size);
        self.features.len() - 1
    }

    /// What a step of a layer's activations is worth.
    fn step_size(&self, name: &str) -> Result<f64, WeightsError> {
        match self.weights.metadata.activations.get(name) {
            Some(&largest) if largest.is_finite() && largest > 0.0 => {
                Ok(f64::from(largest) / 255.0)
            }
            found => Err(WeightsError::Activation { name: name.to_owned(), found: found.copied() }),
        }
    }
}
