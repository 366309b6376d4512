//! From a weights file to the steps of a plan: folding and packing, in `f64`. Runs once for a model; what it
//! makes computes what the network's module computes, within rounding.

mod folded;
mod networks;

use std::collections::BTreeMap;

use folded::{Dense, Folded};

use super::{
    Plan,
    isa::{Block, Isa},
    layout::Layout,
    ops::{ByteLayer, ByteStem, ByteWinograd, SparseDense, Stem, Winograd},
    plan::{Feature, Op, Slot, Step},
    target::{ByteMethod, Target},
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
    /// Compiles a network's weights for an instruction set.
    ///
    /// # Errors
    /// [`WeightsError::Architecture`], or where tensors and network disagree;
    /// [`WeightsError::Activation`] if the weights were not calibrated for [`Precision::Int8`].
    ///
    /// # Panics
    /// If this processor does not have the instruction set.
    pub fn compile(
        weights: &Weights,
        precision: Precision,
        isa: Isa,
    ) -> Result<Self, WeightsError> {
        Self::compile_for(isa.into(), weights, precision)
    }

    /// The same by a method that another instruction set may be faster with, for tests.
    pub(super) fn compile_for(
        target: Target,
        weights: &Weights,
        precision: Precision,
    ) -> Result<Self, WeightsError> {
        assert!(target.isa.is_available(), "the instruction set {} is not available", target.isa);
        let (compiler, classes) = Compiler::run(target, weights, precision)?;
        Ok(Self::new(target, classes, compiler.steps, compiler.features))
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
    let target = Target::from(Isa::best());
    let (compiler, classes) = Compiler::run(target, weights, Precision::F32)?;
    let names = compiler.names.clone();
    let plan = Plan::new(target, classes, compiler.steps, compiler.features);
    let largest = plan.largest(images);
    Ok(names.into_iter().map(|(name, slot)| (name, largest[slot])).collect())
}

/// A plan under construction.
struct Compiler<'a> {
    weights: &'a Weights,
    precision: Precision,
    target: Target,
    /// Those that are still to be used.
    tensors: BTreeMap<&'a str, &'a NamedTensor>,
    steps: Vec<Step>,
    features: Vec<Feature>,
    /// What a quantum of each slot is worth, if it holds bytes.
    quanta: Vec<f64>,
    /// The layers whose activations are bytes with [`Precision::Int8`].
    names: Vec<(String, Slot)>,
}

impl<'a> Compiler<'a> {
    fn run(
        target: Target,
        weights: &'a Weights,
        precision: Precision,
    ) -> Result<(Self, usize), WeightsError> {
        let classes = weights.metadata.classes.len();
        let mut compiler = Self {
            weights,
            precision,
            target,
            tensors: weights.tensors.iter().map(|(name, tensor)| (&**name, tensor)).collect(),
            steps: Vec::new(),
            features: Vec::new(),
            quanta: Vec::new(),
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
        match (self.precision, self.target.method) {
            (Precision::F32, _) | (_, ByteMethod::Winograd) => Layout::bordered(side, blocks),
            (Precision::Int8, _) => Layout::framed(side, blocks),
        }
    }

    /// The first convolution, over pixels: with `p` a pixel, `w · (p · scale + offset)` is
    /// `(w · scale) · p + w · offset`, and a border of normalised zeros is one of `-offset / scale`.
    fn stem(
        &mut self,
        name: &str,
        conv: &Folded<Vec<f64>>,
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
        let op = match self.precision {
            Precision::F32 => {
                let weights = (0..9).flat_map(|tap| {
                    let weight = |output| over_pixels.weight(output, 0, tap) as f32;
                    Block::pack(over_pixels.outputs(), weight)
                });
                let (weights, bias) = (weights.collect(), over_pixels.packed_bias());
                let border = border.map(|border| border as f32);
                Op::Stem(Stem { weights, bias, border })
            }
            Precision::Int8 => {
                let real = over_pixels.real(1.0, self.quanta[output]);
                let border = border.map(|border| border.round_ties_even() as u8);
                Op::ByteStem(ByteStem::new(&real, border, self.target))
            }
        };
        self.steps.push(Step { output, op });
        Ok(output)
    }

    /// A 3×3 convolution with ReLU.
    fn convolution(
        &mut self,
        name: &str,
        conv: &Folded<Vec<f64>>,
        input: Slot,
        residual: Option<Slot>,
        layout: Layout,
    ) -> Result<Slot, WeightsError> {
        let from = self.features[input].layout;
        let pool = layout.side < from.side;
        if self.precision == Precision::F32 {
            let output = self.activation(name, layout)?;
            let bias = match residual {
                Some(_) => Block::pack(conv.outputs(), |_| 0.0),
                None => conv.packed_bias(),
            };
            let layer = Winograd::new(conv.inputs, conv.outputs(), &conv.weights, bias, pool);
            self.steps.push(Step { output, op: Op::Winograd { layer, input, residual } });
            return Ok(output);
        }
        let whole = if pool { Layout::dense(from.side, layout.blocks) } else { layout };
        let output = self.activation(name, whole)?;
        let real = conv.real(self.quanta[input], self.quanta[output]);
        let positions = whole.positions().collect();
        let winograd = match self.target.method {
            ByteMethod::Winograd => ByteWinograd::new(&real, self.target),
            ByteMethod::Direct | ByteMethod::Tiles => None,
        };
        let op = match winograd {
            Some(layer) => Op::ByteWinograd { layer, input, residual, positions },
            None => {
                let layer = ByteLayer::new(&real, &from, self.target);
                Op::Quanta { layer, input, residual, positions }
            }
        };
        self.steps.push(Step { output, op });
        if !pool {
            return Ok(output);
        }
        let pooled = self.slot(layout, true, self.quanta[output]);
        self.steps.push(Step { output: pooled, op: Op::BytePool { input: output } });
        Ok(pooled)
    }

    /// A 1×1 convolution to numbers, in the quanta of the layer that adds them.
    fn pointwise(
        &mut self,
        adder: &str,
        conv: &Folded<Vec<f64>>,
        input: Slot,
    ) -> Result<Slot, WeightsError> {
        let from = self.features[input].layout;
        let output = self.slot(Layout::dense(from.side, conv.blocks()), false, 1.0);
        let op = match self.precision {
            Precision::F32 => {
                let layer = conv.matrix(from.blocks * Block::LANES);
                Op::Pointwise { layer, input }
            }
            Precision::Int8 => {
                let real = conv.real(self.quanta[input], self.quantum(adder)?);
                Op::Numbers { layer: ByteLayer::new(&real, &from, self.target), input }
            }
        };
        self.steps.push(Step { output, op });
        Ok(output)
    }

    /// The notebook's dense layer with ReLU.
    fn hidden(&mut self, dense: &Folded<Dense<'_>>, input: Slot) -> Result<Slot, WeightsError> {
        let output = self.activation("hidden", Layout::dense(1, SparseDense::BLOCKS))?;
        let op = match self.precision {
            Precision::F32 => {
                let blocks = dense.blocks();
                let weights = (0..dense.inputs * blocks).map(|index| {
                    let (input, block) = (index / blocks, index % blocks);
                    let weight = |output| dense.weight(output, input, 0) as f32;
                    Block::from_fn(block, dense.outputs(), weight)
                });
                let layer = SparseDense { weights: weights.collect(), bias: dense.packed_bias() };
                Op::SparseDense { layer, input }
            }
            Precision::Int8 => {
                let real = dense.real(self.quanta[input], self.quanta[output]);
                let from = self.features[input].layout.flattened();
                let layer = ByteLayer::new(&real, &from, self.target);
                Op::Quanta { layer, input, residual: None, positions: [0].into() }
            }
        };
        self.steps.push(Step { output, op });
        Ok(output)
    }

    /// The last layer.
    fn output(&mut self, dense: &Folded<Dense<'_>>, input: Slot) {
        let from = self.features[input].layout.flattened();
        let output = self.slot(Layout::dense(1, dense.blocks()), false, 1.0);
        let op = match self.precision {
            Precision::F32 => {
                let layer = dense.matrix(from.blocks * Block::LANES);
                Op::Dense { layer, input }
            }
            Precision::Int8 => {
                let real = dense.real(self.quanta[input], 1.0);
                Op::Numbers { layer: ByteLayer::new(&real, &from, self.target), input }
            }
        };
        self.steps.push(Step { output, op });
    }

    /// A slot for what a layer's ReLU leaves.
    fn activation(&mut self, name: &str, layout: Layout) -> Result<Slot, WeightsError> {
        let bytes = self.precision == Precision::Int8;
        let quantum = if bytes { self.quantum(name)? } else { 1.0 };
        let slot = self.slot(layout, bytes, quantum);
        self.names.push((name.to_owned(), slot));
        Ok(slot)
    }

    fn slot(&mut self, layout: Layout, bytes: bool, quantum: f64) -> Slot {
        self.features.push(Feature { layout, bytes });
        self.quanta.push(quantum);
        self.features.len() - 1
    }

    /// What a quantum of a layer's activations is worth.
    fn quantum(&self, name: &str) -> Result<f64, WeightsError> {
        match self.weights.metadata.activations.get(name) {
            Some(&largest) if largest.is_finite() && largest > 0.0 => {
                Ok(f64::from(largest) / 255.0)
            }
            found => Err(WeightsError::Activation { name: name.to_owned(), found: found.copied() }),
        }
    }
}
