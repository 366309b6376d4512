//! A layer with everything linear folded into its weights, in `f64`.

use crate::engine::{
    isa::Block,
    ops::{Matrix, Real},
};

/// A convolution with everything linear folded in, or a dense layer, which is one of 1×1.
pub(super) struct Folded<W> {
    pub(super) weights: W,
    pub(super) bias: Vec<f64>,
    pub(super) inputs: usize,
    pub(super) side: usize,
}

/// A layer's weights.
pub(super) trait Weight {
    /// By output, input, and tap in row-major order, of a layer of so many outputs, inputs and taps.
    fn at(&self, at: [usize; 3], of: [usize; 3]) -> f64;
}

/// `[outputs, inputs, side, side]`
impl Weight for Vec<f64> {
    fn at(&self, [output, input, tap]: [usize; 3], [_, inputs, taps]: [usize; 3]) -> f64 {
        self[(output * inputs + input) * taps + tap]
    }
}

/// A dense layer's, where its file has them: they are most of a network, and nothing is folded in.
pub(super) struct Dense<'a> {
    /// `[inputs, outputs]`
    pub(super) values: &'a [f32],
    /// The row of each input.
    pub(super) rows: Vec<usize>,
}

impl Weight for Dense<'_> {
    fn at(&self, [output, input, _]: [usize; 3], [outputs, ..]: [usize; 3]) -> f64 {
        self.values[self.rows[input] * outputs + output].into()
    }
}

impl<W: Weight> Folded<W> {
    pub(super) fn weight(&self, output: usize, input: usize, tap: usize) -> f64 {
        let of = [self.outputs(), self.inputs, self.side * self.side];
        self.weights.at([output, input, tap], of)
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn blocks(&self) -> usize {
        self.outputs().div_ceil(Block::LANES)
    }

    pub(super) fn real(
        &self,
        input_quantum: f64,
        output_quantum: f64,
    ) -> Real<impl Fn(usize, usize, usize) -> f64> {
        Real {
            inputs: self.inputs,
            outputs: self.outputs(),
            taps: self.side,
            weight: |output, input, tap| self.weight(output, input, tap),
            bias: self.bias.clone().into(),
            input_quantum,
            output_quantum,
        }
    }

    pub(super) fn packed_bias(&self) -> Box<[Block]> {
        Block::pack(self.outputs(), |output| self.bias[output] as f32)
    }

    /// As a matrix: a 1×1 convolution, or a dense layer.
    pub(super) fn matrix(&self, depth: usize) -> Matrix {
        let weight = |input: usize, output: usize| {
            if input < self.inputs { self.weight(output, input, 0) as f32 } else { 0.0 }
        };
        Matrix::pack(depth, self.outputs(), |output| self.bias[output] as f32, weight)
    }
}

pub(super) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
