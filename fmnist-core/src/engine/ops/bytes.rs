//! Layers over bytes: inputs are 0–255 quanta, weights ±127 quanta, sums are exact, and the result of a
//! layer does not depend on the instruction set in a single bit.

use super::byte_output::Ending;
use crate::engine::{
    isa::{Block, Bytes, Weights},
    layout::{Maps, MapsMut},
};

/// What a layer is made of, in real units.
pub(crate) struct Real<W> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Rows, and columns, of taps: 1 or 3.
    pub(crate) taps: usize,
    /// By output, input, and tap in row-major order.
    pub(crate) weight: W,
    pub(crate) bias: Box<[f64]>,
    /// What a quantum of the input is worth.
    pub(crate) input_quantum: f64,
    /// What a quantum of the output is worth; 1 where the output is numbers.
    pub(crate) output_quantum: f64,
}

impl<W: Fn(usize, usize, usize) -> f64> Real<W> {
    /// What a quantum of the weights of each output is worth, so that 127 are its largest weight.
    pub(super) fn weight_quanta(&self) -> Vec<f64> {
        let mut largest = vec![0.0_f64; self.outputs];
        for input in 0..self.inputs {
            for tap in 0..self.taps * self.taps {
                for (output, largest) in largest.iter_mut().enumerate() {
                    *largest = largest.max((self.weight)(output, input, tap).abs());
                }
            }
        }
        largest
            .into_iter()
            .map(|largest| if largest > 0.0 { largest / 127.0 } else { 1.0 })
            .collect()
    }

    /// A block of outputs' weights of one group, in quanta; `at` gives the input and the tap of each
    /// of the group's members.
    pub(super) fn pack(
        &self,
        weight_quanta: &[f64],
        block: usize,
        at: impl Fn(usize) -> (usize, usize),
    ) -> Weights {
        Weights(std::array::from_fn(|lane| {
            std::array::from_fn(|member| {
                let (input, tap) = at(member);
                self.quanta(weight_quanta, block * Block::LANES + lane, input, tap)
            })
        }))
    }

    /// A weight in quanta; 0 where the layer has no such output or input.
    pub(super) fn quanta(
        &self,
        weight_quanta: &[f64],
        output: usize,
        input: usize,
        tap: usize,
    ) -> i8 {
        if output >= self.outputs || input >= self.inputs {
            return 0;
        }
        ((self.weight)(output, input, tap) / weight_quanta[output]).round_ties_even() as i8
    }

    pub(super) fn ending(&self, weight_quanta: &[f64]) -> Ending {
        let scale =
            |output: usize| self.input_quantum * weight_quanta[output] / self.output_quantum;
        let bias = |output: usize| self.bias[output] / self.output_quantum;
        Ending {
            scale: Block::pack(self.outputs, |output| scale(output) as f32),
            bias: Block::pack(self.outputs, |output| bias(output) as f32),
        }
    }
}

/// A 2×2 maximum of every image of a chunk.
#[inline(always)]
pub(crate) fn byte_pool(input: Maps<'_, Bytes>, mut output: MapsMut<'_, Bytes>) {
    let blocks = input.layout.blocks;
    for image in 0..input.images() {
        let (input, mut output) = (input.image(image), output.image(image));
        for row in 0..output.layout.side {
            let (upper, lower) = (input.row(2 * row), input.row(2 * row + 1));
            let output = output.row(row).chunks_exact_mut(blocks);
            let pairs = upper.chunks_exact(2 * blocks).zip(lower.chunks_exact(2 * blocks));
            for (output, (upper, lower)) in output.zip(pairs) {
                for (block, output) in output.iter_mut().enumerate() {
                    let [a, b, c, d] =
                        [upper[block], upper[blocks + block], lower[block], lower[blocks + block]];
                    for (lane, largest) in output.0.iter_mut().enumerate() {
                        *largest = a.0[lane].max(b.0[lane]).max(c.0[lane].max(d.0[lane]));
                    }
                }
            }
        }
    }
}
