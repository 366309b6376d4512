//! The layers of a network, in the order in which a plan computes them. Every tensor of the file is taken,
//! and each once.

use super::{
    Compiler,
    folded::{Dense, Folded, widen},
};
use crate::{
    engine::{isa::Block, layout::Layout, plan::Slot},
    model::{Kind, NORM_EPSILON, Unit, notebook},
    weights::WeightsError,
};

impl Compiler<'_> {
    /// [`Notebook`](crate::model::Notebook)
    pub(super) fn notebook(&mut self, classes: usize) -> Result<(), WeightsError> {
        use notebook::{CHANNELS, FLAT, HIDDEN, POOLED};
        let weights = widen(self.take("conv.weight", &[CHANNELS, 1, 3, 3])?);
        let bias = widen(self.take("conv.bias", &[CHANNELS])?);
        let conv = Folded { weights, bias, inputs: 1, side: 3 };
        let layout = Layout::dense(POOLED, CHANNELS.div_ceil(Block::LANES));
        let pooled = self.stem("conv", &conv, false, layout)?;
        let rows = channels_last(CHANNELS, POOLED * POOLED);
        let hidden = self.dense("hidden", [FLAT, HIDDEN], rows)?;
        let hidden = self.hidden(&hidden, pooled)?;
        let output = self.dense("output", [HIDDEN, classes], |input| input)?;
        self.output(&output, hidden);
        Ok(())
    }

    /// A network of units, of which the first reads the image.
    pub(super) fn units(&mut self, units: &[Unit], classes: usize) -> Result<(), WeightsError> {
        let mut x = 0;
        for (index, unit) in units.iter().enumerate() {
            let (name, channels) = (&unit.name, unit.channels);
            let (side, blocks) = (unit.output_side(), channels[1].div_ceil(Block::LANES));
            let is_last = index + 1 == units.len();
            let layout =
                if is_last { Layout::dense(side, blocks) } else { self.bordered(side, blocks) };
            x = match unit.kind {
                Kind::Plain => {
                    let conv = self.conv_norm(name, channels, 3)?;
                    match index {
                        0 => self.stem(name, &conv, true, layout)?,
                        _ => self.convolution(name, &conv, x, None, layout)?,
                    }
                }
                Kind::Residual => self.residual(name, channels, x, layout)?,
            };
            if is_last {
                let rows = channels_last(channels[1], side * side);
                let output = self.dense("output", [unit.outputs(), classes], rows)?;
                self.output(&output, x);
            }
        }
        Ok(())
    }

    /// A residual unit, pooled if its output's layout is half as large.
    fn residual(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        input: Slot,
        layout: Layout,
    ) -> Result<Slot, WeightsError> {
        let mut skip = self.conv_norm(&format!("{name}.skip"), [inputs, outputs], 1)?;
        let first = self.conv_norm(&format!("{name}.first"), [inputs, outputs], 3)?;
        let second = self.conv_norm(&format!("{name}.second"), [outputs, outputs], 3)?;
        // The residual carries the bias of what it is added to.
        skip.bias.iter_mut().zip(&second.bias).for_each(|(skip, second)| *skip += second);

        let side = self.features[input].layout.side;
        let middle = self.bordered(side, first.blocks());
        let middle = self.convolution(&format!("{name}.first"), &first, input, None, middle)?;
        let name = format!("{name}.second");
        let residual = self.pointwise(&name, &skip, input)?;
        self.convolution(&name, &second, middle, Some(residual), layout)
    }
}

impl<'a> Compiler<'a> {
    /// A dense layer, `row` telling which row of its weights belongs to an input of the plan's.
    fn dense(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize) -> usize,
    ) -> Result<Folded<Dense<'a>>, WeightsError> {
        let values = self.take(&format!("{name}.weight"), &[inputs, outputs])?;
        let bias = widen(self.take(&format!("{name}.bias"), &[outputs])?);
        let weights = Dense { values, rows: (0..inputs).map(row).collect() };
        Ok(Folded { weights, bias, inputs, side: 1 })
    }

    /// A convolution without bias and the batch normalisation behind it.
    fn conv_norm(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Folded<Vec<f64>>, WeightsError> {
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
        Ok(Folded { weights, bias: bias.collect(), inputs, side })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<&'a [f32], WeightsError> {
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| WeightsError::MissingTensor { name: name.to_owned() })?;
        tensor.of_shape(name, shape)
    }
}

/// Burn flattens a map channel by channel, a plan position by position: the row of a dense layer's
/// weights for an input of the plan's.
fn channels_last(channels: usize, positions: usize) -> impl Fn(usize) -> usize {
    move |input| input % channels * positions + input / channels
}
