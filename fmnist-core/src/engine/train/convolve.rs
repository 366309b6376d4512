//! Convolutions of whole maps that keep rows and columns, and the gradient of their weights, for
//! training.
//!
//! Inputs have a frame of zeros, one position wide: a tap is an offset, and no position is special.

use crate::engine::isa::{Block, Sums, Vector, Work};

/// What a convolution reads for one image, and how much comes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// Rows, and columns, of the output; the framed input has two more.
    pub(super) side: usize,
    /// Numbers of one position of the input.
    pub(super) channels: usize,
    /// Rows, and columns, of taps: 3 or 1.
    pub(super) size: usize,
    /// Blocks of one position of the output.
    pub(super) blocks: usize,
}

impl Taps {
    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.size * self.size
    }

    /// Numbers of the input of one image.
    pub(super) const fn input(&self) -> usize {
        (self.side + 2) * self.row()
    }

    /// Blocks of the output of one image.
    pub(super) const fn output(&self) -> usize {
        self.side * self.side * self.blocks
    }

    /// Blocks of the output that are computed together.
    const fn width(&self) -> usize {
        match self.blocks {
            blocks if blocks.is_multiple_of(3) => 3,
            blocks if blocks.is_multiple_of(2) => 2,
            _ => 1,
        }
    }

    const fn row(&self) -> usize {
        (self.side + 2) * self.channels
    }

    /// Where a tap's numbers are, from the upper left of a position's 3×3 patch.
    const fn offset(&self, tap: usize) -> usize {
        let inset = (3 - self.size) / 2;
        (tap / self.size + inset) * self.row() + (tap % self.size + inset) * self.channels
    }

    /// Packs weights by tap, input channel and output channel: `[groups, taps, channels, width]`.
    pub(super) fn pack(
        &self,
        outputs: usize,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Vec<Block> {
        let width = self.width();
        let mut packed = Vec::with_capacity(self.count() * self.channels * self.blocks);
        for group in 0..self.blocks / width {
            for tap in 0..self.count() {
                for channel in 0..self.channels {
                    packed.extend((group * width..(group + 1) * width).map(|block| {
                        Block::from_fn(block, outputs, |output| weight(tap, channel, output))
                    }));
                }
            }
        }
        packed
    }
}

/// The convolution of one image.
pub(super) struct Convolve<'a> {
    pub(super) taps: Taps,
    /// `[side + 2, side + 2, channels]`
    pub(super) input: &'a [f32],
    /// From [`Taps::pack`].
    pub(super) weights: &'a [Block],
    /// `[side, side, blocks]`
    pub(super) output: &'a mut [Block],
    /// Whether the output is added to, not written.
    pub(super) add: bool,
}

impl Work for Convolve<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        match self.taps.width() {
            3 => self.groups::<S::Vector, POSITIONS, 3>(),
            2 => self.groups::<S::Vector, POSITIONS, 2>(),
            _ => self.groups::<S::Vector, POSITIONS, 1>(),
        }
    }
}

impl Convolve<'_> {
    #[inline(always)]
    fn groups<V: Vector, const POSITIONS: usize, const WIDTH: usize>(mut self) {
        let side = self.taps.side;
        let (weights, _) = self.weights.as_chunks::<WIDTH>();
        let groups = weights.chunks_exact(self.taps.count() * self.taps.channels);
        for (group, weights) in groups.enumerate() {
            for row in 0..side {
                let mut column = 0;
                while column + POSITIONS <= side {
                    self.positions::<V, POSITIONS, WIDTH>(row, column, group * WIDTH, weights);
                    column += POSITIONS;
                }
                while column < side {
                    self.positions::<V, 1, WIDTH>(row, column, group * WIDTH, weights);
                    column += 1;
                }
            }
        }
    }

    /// Some positions of a row, side by side.
    #[inline(always)]
    fn positions<V: Vector, const POSITIONS: usize, const WIDTH: usize>(
        &mut self,
        row: usize,
        column: usize,
        block: usize,
        weights: &[[Block; WIDTH]],
    ) {
        let Taps { side, channels, blocks, .. } = self.taps;
        let output = &mut self.output[(row * side + column) * blocks + block..];
        let mut sums = [[V::splat(0.0); WIDTH]; POSITIONS];
        if self.add {
            for (position, sums) in sums.iter_mut().enumerate() {
                load(&output[position * blocks..], sums);
            }
        }
        let patch = &self.input[row * self.taps.row() + column * channels..];
        for (tap, weights) in weights.chunks_exact(channels).enumerate() {
            let mut inputs = [[].as_slice(); POSITIONS];
            for (position, input) in inputs.iter_mut().enumerate() {
                *input = &patch[self.taps.offset(tap) + position * channels..][..weights.len()];
            }
            for (channel, weights) in weights.iter().enumerate() {
                let mut factors = [V::splat(0.0); WIDTH];
                load(weights, &mut factors);
                for (input, sums) in inputs.iter().zip(&mut sums) {
                    let input = V::splat(input[channel]);
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum = input.mul_add(factor, *sum);
                    }
                }
            }
        }
        for (position, sums) in sums.iter().enumerate() {
            store(sums, &mut output[position * blocks..]);
        }
    }
}

/// The gradient of a convolution's weights: what one image adds to it.
pub(super) struct Correlate<'a> {
    pub(super) taps: Taps,
    /// `[side + 2, side + 2, channels]`
    pub(super) input: &'a [f32],
    /// By the output, framed as an input is: `[side + 2, side + 2, blocks]`
    pub(super) gradient: &'a [Block],
    /// `[taps, channels, blocks]`
    pub(super) sums: &'a mut [Block],
}

impl Work for Correlate<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        match self.taps.width() {
            3 => self.groups::<S::Vector, ROWS, 3>(),
            2 => self.groups::<S::Vector, ROWS, 2>(),
            _ => self.groups::<S::Vector, ROWS, 1>(),
        }
    }
}

impl Correlate<'_> {
    #[inline(always)]
    fn groups<V: Vector, const ROWS: usize, const WIDTH: usize>(mut self) {
        let rows = self.taps.count() * self.taps.channels;
        for block in (0..self.taps.blocks).step_by(WIDTH) {
            let mut row = 0;
            while row + ROWS <= rows {
                self.rows::<V, ROWS, WIDTH>(row, block);
                row += ROWS;
            }
            while row < rows {
                self.rows::<V, 1, WIDTH>(row, block);
                row += 1;
            }
        }
    }

    /// Some rows of the matrix `[taps × channels, blocks]`.
    #[inline(always)]
    fn rows<V: Vector, const ROWS: usize, const WIDTH: usize>(
        &mut self,
        first: usize,
        block: usize,
    ) {
        let Taps { side, channels, blocks, .. } = self.taps;
        let mut offsets = [0; ROWS];
        for (row, offset) in (first..).zip(&mut offsets) {
            *offset = self.taps.offset(row / channels) + row % channels;
        }
        let stored = &mut self.sums[first * blocks + block..];
        let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            load(&stored[row * blocks..], sums);
        }
        for row in 0..side {
            let gradients =
                &self.gradient[((row + 1) * (side + 2) + 1) * blocks..][..side * blocks];
            for (column, gradients) in gradients.chunks_exact(blocks).enumerate() {
                let patch = &self.input[row * self.taps.row() + column * channels..];
                let mut factors = [V::splat(0.0); WIDTH];
                load(&gradients[block..], &mut factors);
                for (offset, sums) in offsets.into_iter().zip(&mut sums) {
                    let input = V::splat(patch[offset]);
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum = input.mul_add(factor, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            store(sums, &mut stored[row * blocks..]);
        }
    }
}

/// Loads the first blocks; an array, so that the compiler knows how many.
#[inline(always)]
fn load<V: Vector, const WIDTH: usize>(blocks: &[Block], vectors: &mut [V; WIDTH]) {
    let blocks: &[Block; WIDTH] = blocks.first_chunk().expect("a group of blocks");
    for (vector, block) in vectors.iter_mut().zip(blocks) {
        *vector = V::load(block);
    }
}

/// Stores to the first blocks.
#[inline(always)]
fn store<V: Vector, const WIDTH: usize>(vectors: &[V; WIDTH], blocks: &mut [Block]) {
    let blocks: &mut [Block; WIDTH] = blocks.first_chunk_mut().expect("a group of blocks");
    for (vector, block) in vectors.iter().zip(blocks) {
        vector.store(block);
    }
}
