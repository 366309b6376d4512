//! Each network's layers, in the order in which a plan computes them.

use super::{
    Compiler,
    folded::{Folded, widen},
};
use crate::{
    engine::{isa::Block, layout::Layout, plan::Slot},
    weights::WeightsError,
};

impl Compiler<'_> {
    /// [`Notebook`](crate::model::Notebook)
    pub(super) fn notebook(&mut self, classes: usize) -> Result<(), WeightsError> {
        let weights = widen(self.take("conv.weight", &[32, 1, 3, 3])?);
        let bias = widen(self.take("conv.bias", &[32])?);
        let conv = Folded { weights, bias, inputs: 1, side: 3, dense: false };
        let pooled = self.stem("conv", &conv, false, Layout::dense(13, 2))?;
        let hidden = self.dense("hidden", [32 * 13 * 13, 100], channels_last(32, 13 * 13))?;
        let hidden = self.hidden(&hidden, pooled)?;
        let output = self.dense("output", [100, classes], |input| input)?;
        self.output(&output, hidden);
        Ok(())
    }

    /// [`Base`](crate::model::Base)
    pub(super) fn base(&mut self, classes: usize) -> Result<(), WeightsError> {
        let conv = self.conv_norm("stem", [1, 16], 3)?;
        let mut x = self.stem("stem", &conv, true, self.bordered(14, 1))?;
        let widths = [[16, 32], [32, 48], [48, 32]];
        for (block, (channels, side)) in widths.into_iter().zip([14, 7, 3]).enumerate() {
            let layout = match block {
                2 => Layout::dense(side, 2),
                _ => self.bordered(side / 2, channels[1] / Block::LANES),
            };
            x = self.block(&format!("blocks.{block}"), channels, x, layout)?;
        }
        let output = self.dense("output", [32 * 3 * 3, classes], channels_last(32, 3 * 3))?;
        self.output(&output, x);
        Ok(())
    }

    /// [`Tiny`](crate::model::Tiny)
    pub(super) fn tiny(&mut self, classes: usize) -> Result<(), WeightsError> {
        let conv = self.conv_norm("stem", [1, 16], 3)?;
        let mut x = self.stem("stem", &conv, true, self.bordered(14, 1))?;
        let layouts = [self.bordered(7, 1), self.bordered(3, 2), Layout::dense(3, 2)];
        let widths = [[16, 16], [16, 24], [24, 32]];
        for (layer, (channels, layout)) in widths.into_iter().zip(layouts).enumerate() {
            let name = format!("layers.{layer}");
            let conv = self.conv_norm(&name, channels, 3)?;
            x = self.convolution(&name, &conv, x, None, layout)?;
        }
        let output = self.dense("output", [32 * 3 * 3, classes], channels_last(32, 3 * 3))?;
        self.output(&output, x);
        Ok(())
    }

    /// [`Large`](crate::model::Large)
    pub(super) fn large(&mut self, classes: usize) -> Result<(), WeightsError> {
        let conv = self.conv_norm("stem", [1, 32], 3)?;
        let mut x = self.stem("stem", &conv, true, self.bordered(14, 2))?;
        let layouts =
            [self.bordered(14, 4), self.bordered(7, 4), self.bordered(3, 4), Layout::dense(3, 4)];
        let widths = [[32, 64], [64, 64], [64, 64], [64, 64]];
        for (block, (channels, layout)) in widths.into_iter().zip(layouts).enumerate() {
            x = self.block(&format!("blocks.{block}"), channels, x, layout)?;
        }
        let output = self.dense("output", [64 * 3 * 3, classes], channels_last(64, 3 * 3))?;
        self.output(&output, x);
        Ok(())
    }

    /// A residual block, pooled if its output's layout is half as large.
    fn block(
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

/// Burn flattens a map channel by channel, a plan position by position: the row of a dense layer's
/// weights for an input of the plan's.
fn channels_last(channels: usize, positions: usize) -> impl Fn(usize) -> usize {
    move |input| input % channels * positions + input / channels
}
