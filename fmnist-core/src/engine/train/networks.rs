//! Each network's units.

use super::{Source, branch::Branch, unit::Unit};
use crate::{image::Image, model::Architecture};

/// The units of a network in order, and the channels of the last.
pub(super) fn units(architecture: Architecture) -> Option<(Vec<Unit>, usize)> {
    match architecture {
        Architecture::Base => {
            let widths = [[16, 32], [32, 48], [48, 32]];
            Some(residual(16, widths.into_iter().zip([14, 7, 3]), [true, true, false]))
        }
        Architecture::Large => {
            let widths = [[32, 64], [64, 64], [64, 64], [64, 64]];
            Some(residual(32, widths.into_iter().zip([14, 14, 7, 3]), [false, true, true, false]))
        }
        Architecture::Tiny => {
            let mut units = vec![stem(16)];
            let widths = [[16, 16], [16, 24], [24, 32]];
            for (layer, (channels, side)) in widths.into_iter().zip([14, 7, 3]).enumerate() {
                let source = Source::Unit(layer);
                let branch = Branch::new(format!("layers.{layer}"), source, channels, 3, side);
                units.push(Unit::new(vec![branch], side, layer < 2));
            }
            Some((units, 32))
        }
        _ => None,
    }
}

fn stem(channels: usize) -> Unit {
    let side = Image::WIDTH;
    Unit::new(
        vec![Branch::new("stem".to_owned(), Source::Pixels, [1, channels], 3, side)],
        side,
        true,
    )
}

/// A stem and residual blocks of widths and sides, pooled behind where `pooled` says so.
fn residual(
    width: usize,
    blocks: impl Iterator<Item = ([usize; 2], usize)>,
    pooled: impl IntoIterator<Item = bool>,
) -> (Vec<Unit>, usize) {
    let (mut units, mut width) = (vec![stem(width)], width);
    for (block, (([inputs, outputs], side), pooled)) in blocks.zip(pooled).enumerate() {
        let input = Source::Unit(units.len() - 1);
        let middle = Source::Unit(units.len());
        let branch = |which: &str, source, channels, kernel| {
            Branch::new(format!("blocks.{block}.{which}"), source, channels, kernel, side)
        };
        units.push(Unit::new(vec![branch("first", input, [inputs, outputs], 3)], side, false));
        let second = branch("second", middle, [outputs, outputs], 3);
        let skip = branch("skip", input, [inputs, outputs], 1);
        units.push(Unit::new(vec![second, skip], side, pooled));
        width = outputs;
    }
    (units, width)
}
