//! A layer with everything linear folded into its weights, in `f64`.

use super::Compiler;
use crate::{
    engine::{
        NORM_EPSILON,
        isa::Block,
        ops::{Matrix, Real},
    },
    weights::WeightsError,
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
        match self.dense {
            true => self.weights[input * self.bias.len() + output],
            false => self.weights[(output * self.inputs + input) * self.side * self.side + tap],
        }
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

impl<'a> Compiler<'a> {
    /// A dense layer, `row` telling which row of its weights belongs to an input of the plan's.
    pub(super) fn dense(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize) -> usize,
    ) -> Result<Folded, WeightsError> {
        let weight = self.take(&format!("{name}.weight"), &[inputs, outputs])?;
        let bias = widen(self.take(&format!("{name}.bias"), &[outputs])?);
        let mut weights = Vec::with_capacity(weight.len());
        for input in 0..inputs {
            let row = &weight[row(input) * outputs..][..outputs];
            weights.extend(row.iter().copied().map(f64::from));
        }
        Ok(Folded { weights, bias, inputs, side: 1, dense: true })
    }

    /// A convolution without bias and the batch normalisation behind it.
    pub(super) fn conv_norm(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Folded, WeightsError> {
        let weights = format!("{name}.conv.weight");
        let mut weights = widen(self.take(&weights, &[outputs, inputs, side, side])?);
        let mut norm =
            |part: &str| self.take(&format!("{name}.norm.{part}"), &[outputs]).map(widen);
        let (gamma, beta) = (norm("gamma")?, norm("beta")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, var)| gamma / (var + NORM_EPSILON).sqrt())
            .collect();
        if let Some(position) = scale.iter().position(|scale| !scale.is_finite()) {
            let (name, found) = (format!("{name}.norm.running_var"), variance[position] as f32);
            return Err(WeightsError::NotFinite { name, position, found });
        }
        for (weights, scale) in weights.chunks_mut(inputs * side * side).zip(&scale) {
            weights.iter_mut().for_each(|weight| *weight *= scale);
        }
        let bias = (0..outputs).map(|output| beta[output] - mean[output] * scale[output]);
        Ok(Folded { weights, bias: bias.collect(), inputs, side, dense: false })
    }

    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<&'a [f32], WeightsError> {
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| WeightsError::MissingTensor { name: name.to_owned() })?;
        tensor.of_shape(name, shape)
    }
}

pub(super) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
