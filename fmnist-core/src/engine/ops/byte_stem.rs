//! The first layer, from pixels to bytes.

use super::{byte_output::Ending, bytes::Real};
use crate::{
    engine::{
        isa::{Block, Bytes, Packed, Sums, Vector},
        layout::MapsMut,
        target::Target,
    },
    image::Image,
};

/// The first layer: a 3×3 convolution of one channel, ReLU and a 2×2 maximum, from pixels.
#[derive(Clone, Debug)]
pub(crate) struct ByteStem {
    /// `[3, blocks]`: a row of taps, and a zero behind it.
    weights: Packed,
    ending: Ending,
    /// What stands around the image; `None` where the convolution stays inside.
    border: Option<u8>,
}

/// Width of an image with a border of one pixel, and what a group reaches beyond.
const STORED: usize = 32;
/// Height of an image with a border of one pixel.
const PADDED: usize = Image::HEIGHT + 2;

impl ByteStem {
    /// Quantises a layer; a quantum of its input is a pixel's.
    pub(crate) fn new<W>(real: &Real<W>, border: Option<u8>, target: Target) -> Self
    where
        W: Fn(usize, usize, usize) -> f64,
    {
        let weight_quanta = real.weight_quanta();
        let blocks = real.outputs.div_ceil(Block::LANES);
        let weights = |index: usize| {
            let (row, block) = (index / blocks, index % blocks);
            // Behind a row's three taps there is none: of an input that the layer does not have.
            real.pack(&weight_quanta, block, |column| (column / 3, row * 3 + column % 3))
        };
        let weights = target.pack((0..3 * blocks).map(weights));
        Self { weights, ending: real.ending(&weight_quanta), border }
    }

    /// Multiply-adds of an image.
    pub(crate) fn multiply_adds(&self) -> usize {
        let side = Image::WIDTH - if self.border.is_some() { 0 } else { 2 };
        side * side * 3 * self.ending.blocks() * Block::LANES * Bytes::GROUP
    }
}

/// Computes the pooled features of one image.
#[inline(always)]
pub(crate) fn byte_stem<S: Sums, const WIDTH: usize>(
    stem: &ByteStem,
    image: &Image,
    mut output: MapsMut<'_, Bytes>,
) {
    let mut pixels = [[stem.border.unwrap_or(0); STORED]; PADDED];
    let inset = usize::from(stem.border.is_some());
    let (rows, _) = image.pixels().as_chunks::<{ Image::WIDTH }>();
    for (row, padded) in rows.iter().zip(&mut pixels[inset..]) {
        padded[inset..][..Image::WIDTH].copy_from_slice(row);
    }

    let (weights, _) = S::weights(&stem.weights).as_chunks::<WIDTH>();
    let weights: &[[S::Weights; WIDTH]; 3] = weights.first_chunk().expect("three rows of taps");
    for row in 0..output.layout.side {
        let patch_rows: &[[u8; STORED]; 4] =
            pixels[2 * row..].first_chunk().expect("a pooled row sees four rows of pixels");
        let (positions, _) = output.row(row).as_chunks_mut::<WIDTH>();
        for (column, output) in positions.iter_mut().enumerate() {
            stem_position::<S, WIDTH>(stem, weights, patch_rows, 2 * column, output);
        }
    }
}

/// One pooled position: its patch of 4×4 pixels gives four sums for each channel.
#[inline(always)]
fn stem_position<S: Sums, const WIDTH: usize>(
    stem: &ByteStem,
    weights: &[[S::Weights; WIDTH]; 3],
    rows: &[[u8; STORED]; 4],
    first: usize,
    output: &mut [Bytes; WIDTH],
) {
    // Two groups of four pixels in each row, the second of which begins one pixel later.
    let mut groups = [[[0; Bytes::GROUP]; 2]; 4];
    for (groups, row) in groups.iter_mut().zip(rows) {
        for (shift, group) in groups.iter_mut().enumerate() {
            *group = *row[first + shift..].first_chunk().expect("rows are stored with room behind");
        }
    }
    for (block, output) in output.iter_mut().enumerate() {
        let mut sums = [S::zero(); 4];
        for (index, sum) in sums.iter_mut().enumerate() {
            for (tap, weights) in weights.iter().enumerate() {
                *sum = sum.add_products(groups[index / 2 + tap][index % 2], &weights[block]);
            }
        }
        let largest = sums[0].max(sums[1]).max(sums[2].max(sums[3]));
        let Ending { scale, bias } = &stem.ending;
        let scaled = largest.numbers().mul(S::Vector::load(&scale[block]));
        scaled.add(S::Vector::load(&bias[block])).store_bytes(&mut output.0);
    }
}
