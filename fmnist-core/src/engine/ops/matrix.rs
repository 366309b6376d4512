//! Products with a weight matrix that is packed in blocks of sixteen columns.

use crate::engine::isa::{Block, Vector, flat};

/// Blocks of columns that one pass keeps in registers.
const GROUP: usize = 3;

/// Weights, `[depth, columns]`, and a bias for each column, in groups of up to three blocks.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    depth: usize,
    /// Blocks of columns of each group, and its numbers as `[1 + depth, blocks]`, the bias first.
    groups: Box<[(usize, Box<[Block]>)]>,
}

impl Matrix {
    /// Packs the numbers that `bias(column)` and `weight(row, column)` give.
    pub(crate) fn pack(
        depth: usize,
        columns: usize,
        bias: impl Fn(usize) -> f32,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        Self::of_blocks(
            depth,
            columns.div_ceil(Block::LANES),
            |block| Block::from_fn(block, columns, &bias),
            |row, block| Block::from_fn(block, columns, |column| weight(row, column)),
        )
    }

    /// The same from what `bias(block)` and `weights(row, block)` give for blocks of columns.
    pub(crate) fn of_blocks(
        depth: usize,
        blocks: usize,
        bias: impl Fn(usize) -> Block,
        weights: impl Fn(usize, usize) -> Block,
    ) -> Self {
        let width = blocks.div_ceil(blocks.div_ceil(GROUP));
        let groups = (0..blocks).step_by(width).map(|first| {
            let width = width.min(blocks - first);
            let block = |index: usize| {
                let (row, block) = (index / width, first + index % width);
                match row {
                    0 => bias(block),
                    _ => weights(row - 1, block),
                }
            };
            (width, (0..(1 + depth) * width).map(block).collect())
        });
        Self { depth, groups: groups.collect() }
    }

    /// Multiply-adds of a row of the product.
    pub(crate) fn multiply_adds(&self) -> usize {
        self.depth * self.blocks() * Block::LANES
    }

    /// Blocks of a row of the product.
    pub(crate) fn blocks(&self) -> usize {
        self.groups.iter().map(|(width, _)| width).sum()
    }
}

/// `output[row] = bias + input[row] · weights` for every row of the input.
///
/// # Shapes
/// - `input`: `[rows, depth]`, row-major
/// - `output`: `[rows, blocks]`
#[inline(always)]
pub(crate) fn multiply<V: Vector, const ROWS: usize>(
    input: &[Block],
    matrix: &Matrix,
    output: &mut [Block],
) {
    let (input, stride) = (flat(input), matrix.blocks());
    let mut first = 0;
    for (width, numbers) in &matrix.groups {
        let output = &mut output[first..];
        match width {
            1 => columns::<V, ROWS, 1>(input, numbers, output, stride),
            2 => columns::<V, ROWS, 2>(input, numbers, output, stride),
            _ => columns::<V, ROWS, 3>(input, numbers, output, stride),
        }
        first += width;
    }
}

/// One group's columns of every row, `ROWS` rows at a time while there are so many.
#[inline(always)]
fn columns<V: Vector, const ROWS: usize, const WIDTH: usize>(
    input: &[f32],
    numbers: &[Block],
    output: &mut [Block],
    stride: usize,
) {
    let (numbers, _) = numbers.as_chunks::<WIDTH>();
    let (bias, weights) = numbers.split_first().expect("a group begins with its bias");
    let rows = input.len() / weights.len();
    let mut row = 0;
    while row < rows {
        let (input, output) = (&input[row * weights.len()..], &mut output[row * stride..]);
        row += match rows - row {
            left if left >= ROWS => tile::<V, ROWS, WIDTH>(input, bias, weights, output, stride),
            left if ROWS > 4 && left >= 4 => {
                tile::<V, 4, WIDTH>(input, bias, weights, output, stride)
            }
            left if left >= 2 => tile::<V, 2, WIDTH>(input, bias, weights, output, stride),
            _ => tile::<V, 1, WIDTH>(input, bias, weights, output, stride),
        };
    }
}

/// `ROWS` × `WIDTH` sums in registers; returns `ROWS`.
#[inline(always)]
fn tile<V: Vector, const ROWS: usize, const WIDTH: usize>(
    input: &[f32],
    bias: &[Block; WIDTH],
    weights: &[[Block; WIDTH]],
    output: &mut [Block],
    stride: usize,
) -> usize {
    let depth = weights.len();
    let mut rows = [input; ROWS];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &input[index * depth..][..depth];
    }
    let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
    for row in &mut sums {
        for (sum, bias) in row.iter_mut().zip(bias) {
            *sum = V::load(bias);
        }
    }
    for (k, weights) in weights.iter().enumerate() {
        let mut loaded = [V::splat(0.0); WIDTH];
        for (loaded, weights) in loaded.iter_mut().zip(weights) {
            *loaded = V::load(weights);
        }
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let factor = V::splat(row[k]);
            for (sum, weights) in sums.iter_mut().zip(&loaded) {
                *sum = factor.mul_add(*weights, *sum);
            }
        }
    }
    for (index, sums) in sums.iter().enumerate() {
        let output = output[index * stride..].first_chunk_mut::<WIDTH>();
        let output = output.expect("an output has as many rows as its input");
        for (sum, output) in sums.iter().zip(output) {
            sum.store(output);
        }
    }
    ROWS
}
