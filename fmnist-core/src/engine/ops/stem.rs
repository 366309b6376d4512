//! The first layer: one channel in, convolution, ReLU and 2×2 maximum in one pass.

use crate::{
    engine::{
        isa::{Block, Vector},
        layout::MapsMut,
    },
    image::Image,
};

/// Width and height of an image with a border of one pixel.
const PADDED: usize = Image::WIDTH + 2;

/// A 3×3 convolution of one channel, ReLU, and a 2×2 maximum pool.
#[derive(Clone, Debug)]
pub(crate) struct Stem {
    /// `[9, blocks]`, over pixels of 0–255: the normalisation is folded in.
    pub(crate) weights: Box<[Block]>,
    /// `[blocks]`
    pub(crate) bias: Box<[Block]>,
    /// What stands around the image, in pixels; `None` where the convolution stays inside.
    pub(crate) border: Option<f32>,
}

impl Stem {
    /// Multiply-adds of an image.
    pub(crate) fn multiply_adds(&self) -> usize {
        self.side().pow(2) * 4 * self.weights.len() * Block::LANES
    }

    /// Rows, and columns, of the pooled output.
    pub(crate) fn side(&self) -> usize {
        (Image::WIDTH - if self.border.is_some() { 0 } else { 2 }) / 2
    }
}

/// Computes the pooled features of one image.
#[inline(always)]
pub(crate) fn stem<V: Vector, const WIDTH: usize>(
    stem: &Stem,
    image: &Image,
    mut output: MapsMut<'_, Block>,
) {
    let mut pixels = [[stem.border.unwrap_or(0.0); PADDED]; PADDED];
    let inset = usize::from(stem.border.is_some());
    let (rows, _) = image.pixels().as_chunks::<{ Image::WIDTH }>();
    for (row, padded) in rows.iter().zip(&mut pixels[inset..]) {
        for (pixel, padded) in row.iter().zip(&mut padded[inset..]) {
            *padded = f32::from(*pixel);
        }
    }

    let (weights, _) = stem.weights.as_chunks::<WIDTH>();
    let weights: &[[Block; WIDTH]; 9] =
        weights.first_chunk().expect("a 3×3 convolution has nine taps");
    let bias: &[Block; WIDTH] = stem.bias.first_chunk().expect("a bias for each channel");
    for row in 0..stem.side() {
        let (positions, _) = output.row(row).as_chunks_mut::<WIDTH>();
        let patch_rows: &[[f32; PADDED]; 4] =
            pixels[2 * row..].first_chunk().expect("a pooled row sees four rows of pixels");
        for (column, output) in positions.iter_mut().enumerate() {
            position::<V, WIDTH>(patch_rows, 2 * column, weights, bias, output);
        }
    }
}

/// One pooled position: its 4×4 patch of pixels gives four sums for each channel.
#[inline(always)]
fn position<V: Vector, const WIDTH: usize>(
    rows: &[[f32; PADDED]; 4],
    first: usize,
    weights: &[[Block; WIDTH]; 9],
    bias: &[Block; WIDTH],
    output: &mut [Block; WIDTH],
) {
    let mut patch = [[0.0; 4]; 4];
    for (patch, row) in patch.iter_mut().zip(rows) {
        *patch = *row[first..].first_chunk().expect("a pooled column sees four columns");
    }
    for block in 0..WIDTH {
        let mut sums = [[V::load(&bias[block]); 2]; 2];
        for tap in 0..9 {
            let weight = V::load(&weights[tap][block]);
            for row in 0..2 {
                for column in 0..2 {
                    let pixel = V::splat(patch[row + tap / 3][column + tap % 3]);
                    sums[row][column] = pixel.mul_add(weight, sums[row][column]);
                }
            }
        }
        let largest = sums[0][0].max(sums[0][1]).max(sums[1][0].max(sums[1][1]));
        largest.max(V::splat(0.0)).store(&mut output[block]);
    }
}
