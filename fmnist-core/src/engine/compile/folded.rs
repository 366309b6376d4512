//! A layer with everything linear folded into its weights, in `f64`.

use crate::engine::{
    isa::Block,
    ops::{Matrix, Real},
};

/// A convolution with everything linear folded in, or a dense layer, which is one of 1×1.
pub(super) struct Folded {
    /// `[outputs, inputs, side, side]`; of a dense layer `[inputs, outputs]`, as its file has them.
    pub(super) weights: Vec<f64>,
    pub(super) bias: Vec<f64>,
    pub(super) inputs: usize,
    pub(super) side: usize,
    pub(super) dense: bool,
}

impl Folded {
    pub(super) fn weight(&self, output: usize, input: usize, tap: usize) -> f64 {
        if self.dense {
            return self.weights[input * self.bias.len() + output];
        }
        self.weights[(output * self.inputs + input) * self.side * self.side + tap]
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
