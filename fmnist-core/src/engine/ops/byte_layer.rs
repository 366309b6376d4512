//! Convolutions and dense layers from bytes, to bytes or numbers, by the definition.

use std::iter;

use super::{
    byte_output::{Ending, Numbers, Place, Quanta, Store},
    byte_tiles::{Tiling, byte_tiles},
    bytes::Real,
};
use crate::engine::{
    isa::{Block, Bytes, Packed, Sums, groups},
    layout::{Layout, Maps, MapsMut},
    target::{ByteMethod, Target},
};

/// A convolution or a dense layer, which is one of a single position.
#[derive(Clone, Debug)]
pub(crate) struct ByteLayer {
    /// Blocks of outputs of each group, and its weights as `[taps, input groups, blocks]`.
    groups: Box<[(usize, Packed)]>,
    ending: Ending,
    /// For an instruction set with tiles.
    tiling: Option<Tiling>,
    /// Blocks of input channels.
    input_blocks: usize,
    /// From the first block that a position sees, that of each tap.
    taps: Box<[usize]>,
    /// For each position, the first block that it sees.
    positions: Box<[usize]>,
}

impl ByteLayer {
    /// Blocks of outputs that one pass keeps in registers.
    const WIDTH: usize = 3;

    /// Quantises a layer over maps of a layout.
    pub(crate) fn new<W>(real: &Real<W>, input: &Layout, target: Target) -> Self
    where
        W: Fn(usize, usize, usize) -> f64,
    {
        let weight_quanta = real.weight_quanta();
        let blocks = real.outputs.div_ceil(Block::LANES);
        let width = blocks.div_ceil(blocks.div_ceil(Self::WIDTH));
        let input_groups = input.blocks * Block::LANES / Bytes::GROUP;
        let groups = (0..blocks).step_by(width).map(|first| {
            let width = width.min(blocks - first);
            let weights = |index: usize| {
                let (index, block) = (index / width, first + index % width);
                let (tap, group) = (index / input_groups, index % input_groups);
                real.pack(&weight_quanta, block, |input| (group * Bytes::GROUP + input, tap))
            };
            let count = real.taps * real.taps * input_groups * width;
            (width, target.pack((0..count).map(weights)))
        });
        let tap = |tap: usize| tap / real.taps * input.row() + tap % real.taps * input.blocks;
        let side = input.side;
        let position = |position: usize| match real.taps {
            1 => input.index(position / side, position % side),
            _ => input.patch(position / side, position % side),
        };
        let positions: Box<[usize]> = (0..side * side).map(position).collect();
        Self {
            groups: groups.collect(),
            ending: real.ending(&weight_quanta),
            tiling: (target.method == ByteMethod::Tiles)
                .then(|| Tiling::new(real.taps, input, positions[0])),
            input_blocks: input.blocks,
            taps: (0..real.taps * real.taps).map(tap).collect(),
            positions,
        }
    }

    /// Computes it as numbers, for every position of every image of a chunk.
    #[inline(always)]
    pub(crate) fn numbers<S: Sums, const ROWS: usize>(
        &self,
        input: Maps<'_, Bytes>,
        output: MapsMut<'_, Block>,
    ) {
        self.compute::<S, ROWS>(input, Numbers { ending: &self.ending, output });
    }

    /// Computes it as quanta, what is negative at 0.
    ///
    /// # Shapes
    /// - `residual`: instead of the bias, for each position and channel, in quanta of the output
    /// - `positions`: for each position, its first block of the output
    #[inline(always)]
    pub(crate) fn quanta<S: Sums, const ROWS: usize>(
        &self,
        input: Maps<'_, Bytes>,
        residual: Option<Maps<'_, Block>>,
        output: MapsMut<'_, Bytes>,
        positions: &[usize],
    ) {
        let ending = &self.ending;
        self.compute::<S, ROWS>(input, Quanta { ending, residual, output, positions });
    }

    #[inline(always)]
    fn compute<S: Sums, const ROWS: usize>(&self, input: Maps<'_, Bytes>, mut output: impl Store) {
        if let Some(tiling) = self.tiling.as_ref().filter(|tiling| tiling.suits(input.images())) {
            return byte_tiles::<S>(&self.groups, tiling, input, &mut output);
        }
        let mut first = 0;
        for (width, weights) in &self.groups {
            let weights = S::weights(weights);
            match width {
                1 => columns::<S, ROWS, 1>(self, input, weights, first, &mut output),
                2 => columns::<S, ROWS, 2>(self, input, weights, first, &mut output),
                _ => columns::<S, ROWS, 3>(self, input, weights, first, &mut output),
            }
            first += width;
        }
    }

    /// Multiply-adds of an image.
    pub(crate) fn multiply_adds(&self) -> usize {
        let inputs = self.taps.len() * self.input_blocks * Block::LANES;
        self.positions.len() * inputs * self.ending.blocks() * Block::LANES
    }
}

/// One group of outputs at every position, `ROWS` positions at a time while there are so many.
#[inline(always)]
fn columns<S: Sums, const ROWS: usize, const WIDTH: usize>(
    layer: &ByteLayer,
    input: Maps<'_, Bytes>,
    weights: &[S::Weights],
    first: usize,
    output: &mut impl Store,
) {
    let (weights, _) = weights.as_chunks::<WIDTH>();
    let mut place = Place { image: 0, position: 0 };
    let mut left = input.images() * layer.positions.len();
    while left > 0 {
        left -= match left {
            _ if left >= ROWS => {
                tile::<S, ROWS, WIDTH, 1>(layer, input, weights, first, &mut place, output)
            }
            4.. if ROWS > 4 => {
                tile::<S, 4, WIDTH, 1>(layer, input, weights, first, &mut place, output)
            }
            2.. => tile::<S, 2, WIDTH, 2>(layer, input, weights, first, &mut place, output),
            _ => tile::<S, 1, WIDTH, 4>(layer, input, weights, first, &mut place, output),
        };
    }
}

/// `ROWS` × `WIDTH` sums in registers, each in `SPLIT` parts, so that enough of them are under way;
/// moves the place on and returns `ROWS`.
#[inline(always)]
fn tile<S: Sums, const ROWS: usize, const WIDTH: usize, const SPLIT: usize>(
    layer: &ByteLayer,
    input: Maps<'_, Bytes>,
    weights: &[[S::Weights; WIDTH]],
    first: usize,
    place: &mut Place,
    output: &mut impl Store,
) -> usize {
    let mut places = [*place; ROWS];
    let mut starts = [0; ROWS];
    for (at, start) in places.iter_mut().zip(&mut starts) {
        *at = *place;
        *start = place.image * input.layout.len() + layer.positions[place.position];
        place.position += 1;
        if place.position == layer.positions.len() {
            *place = Place { image: place.image + 1, position: 0 };
        }
    }
    let mut sums = [[[S::zero(); WIDTH]; ROWS]; SPLIT];
    let depth = layer.input_blocks * Block::LANES / Bytes::GROUP;
    for (tap, weights) in layer.taps.iter().zip(weights.chunks_exact(depth)) {
        let mut rows: [&[[u8; Bytes::GROUP]]; ROWS] = [&[]; ROWS];
        for (row, start) in rows.iter_mut().zip(starts) {
            *row = &groups(&input.blocks[start + tap..][..layer.input_blocks])[..depth];
        }
        if SPLIT == 1 {
            for (group, weights) in weights.iter().enumerate() {
                add_group(&mut sums[0], &rows, group, weights);
            }
            continue;
        }
        let (weights, _) = weights.as_chunks::<4>();
        for (four, [a, b, c, d]) in weights.iter().enumerate() {
            // One by one: in a loop, the compiler would keep the sums in memory.
            add_group(&mut sums[0], &rows, 4 * four, a);
            add_group(&mut sums[1 % SPLIT], &rows, 4 * four + 1, b);
            add_group(&mut sums[2 % SPLIT], &rows, 4 * four + 2, c);
            add_group(&mut sums[3 % SPLIT], &rows, 4 * four + 3, d);
        }
    }
    for (row, at) in places.into_iter().enumerate() {
        let mut whole = sums[0][row];
        for part in &sums[1..] {
            for (sum, part) in whole.iter_mut().zip(part[row]) {
                *sum = sum.add(part);
            }
        }
        output.store::<S, WIDTH>(at, first, iter::once(whole));
    }
    ROWS
}

/// Adds the products of one group of inputs to the sums of every row.
#[inline(always)]
fn add_group<S: Sums, const ROWS: usize, const WIDTH: usize>(
    sums: &mut [[S; WIDTH]; ROWS],
    rows: &[&[[u8; Bytes::GROUP]]; ROWS],
    group: usize,
    weights: &[S::Weights; WIDTH],
) {
    for (sums, row) in sums.iter_mut().zip(rows) {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = sum.add_products(row[group], weights);
        }
    }
}
