//! Layers over bytes: inputs are steps of 0–255, weights are steps of ±127, sums are exact, and the
//! result of a layer does not depend on the kernel in a single bit.

use super::{
    sums::{Sums, Weights},
    vector::{Block, Vector},
};
use crate::{
    engine::layout::{Layout, Maps, MapsMut},
    image::Image,
};

/// Sixteen channels of one position, in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(16))]
pub(in crate::engine) struct Bytes(pub(in crate::engine) [u8; Block::LANES]);

impl Bytes {
    /// Sixteen zeros.
    pub(in crate::engine) const ZERO: Self = Self([0; Block::LANES]);
    /// Inputs that one instruction multiplies.
    const GROUP: usize = 4;
}

/// The same steps, four by four.
fn groups(bytes: &[Bytes]) -> &[[u8; Bytes::GROUP]] {
    // SAFETY: `Bytes` is sixteen u8 without padding (`repr(C)`), four arrays of four.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() * 4) }
}

/// How sums become the numbers, or steps, of a layer's output.
#[derive(Clone, Debug)]
struct Ending {
    /// `[blocks]`, what a sum of one is worth.
    scale: Box<[Block]>,
    /// `[blocks]`
    bias: Box<[Block]>,
}

/// What a layer is made of, in real units.
pub(in crate::engine) struct Real<W> {
    pub(in crate::engine) inputs: usize,
    pub(in crate::engine) outputs: usize,
    /// Rows, and columns, of taps: 1 or 3.
    pub(in crate::engine) taps: usize,
    /// By output, input, and tap in row-major order.
    pub(in crate::engine) weight: W,
    pub(in crate::engine) bias: Box<[f64]>,
    /// What a step of the input is worth.
    pub(in crate::engine) input_step: f64,
    /// What a step of the output is worth; 1 where the output is numbers.
    pub(in crate::engine) output_step: f64,
}

impl<W: Fn(usize, usize, usize) -> f64> Real<W> {
    /// What a step of the weights of each output is worth, so that 127 are its largest weight.
    fn weight_steps(&self) -> Vec<f64> {
        let mut largest = vec![0.0_f64; self.outputs];
        for input in 0..self.inputs {
            for tap in 0..self.taps * self.taps {
                for (output, largest) in largest.iter_mut().enumerate() {
                    *largest = largest.max((self.weight)(output, input, tap).abs());
                }
            }
        }
        largest
            .into_iter()
            .map(|largest| if largest > 0.0 { largest / 127.0 } else { 1.0 })
            .collect()
    }

    /// A weight in steps; 0 where there is none.
    fn steps(&self, weight_steps: &[f64], output: usize, input: usize, tap: usize) -> i8 {
        if output >= self.outputs || input >= self.inputs {
            return 0;
        }
        ((self.weight)(output, input, tap) / weight_steps[output]).round_ties_even() as i8
    }

    fn ending(&self, weight_steps: &[f64]) -> Ending {
        let scale = |output: usize| self.input_step * weight_steps[output] / self.output_step;
        let bias = |output: usize| self.bias[output] / self.output_step;
        Ending {
            scale: Block::pack(self.outputs, |output| scale(output) as f32),
            bias: Block::pack(self.outputs, |output| bias(output) as f32),
        }
    }
}

/// A convolution or a dense layer, which is one of a single position.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ByteLayer {
    /// Blocks of outputs of each group, and its weights as `[taps, input groups, blocks]`.
    groups: Box<[(usize, Box<[Weights]>)]>,
    ending: Ending,
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
    pub(in crate::engine) fn new<W>(real: &Real<W>, input: &Layout) -> Self
    where
        W: Fn(usize, usize, usize) -> f64,
    {
        let weight_steps = real.weight_steps();
        let blocks = real.outputs.div_ceil(Block::LANES);
        let width = blocks.div_ceil(blocks.div_ceil(Self::WIDTH));
        let input_groups = input.blocks * Block::LANES / Bytes::GROUP;
        let groups = (0..blocks).step_by(width).map(|first| {
            let width = width.min(blocks - first);
            let weights = |index: usize| {
                let (index, block) = (index / width, first + index % width);
                let (tap, group) = (index / input_groups, index % input_groups);
                Weights(std::array::from_fn(|lane| {
                    std::array::from_fn(|input| {
                        let output = block * Block::LANES + lane;
                        let input = group * Bytes::GROUP + input;
                        real.steps(&weight_steps, output, input, tap)
                    })
                }))
            };
            let count = real.taps * real.taps * input_groups * width;
            (width, (0..count).map(weights).collect())
        });
        let tap = |tap: usize| tap / real.taps * input.row() + tap % real.taps * input.blocks;
        let side = input.side;
        let position = |position: usize| match real.taps {
            1 => input.index(position / side, position % side),
            _ => input.patch(position / side, position % side),
        };
        Self {
            groups: groups.collect(),
            ending: real.ending(&weight_steps),
            input_blocks: input.blocks,
            taps: (0..real.taps * real.taps).map(tap).collect(),
            positions: (0..side * side).map(position).collect(),
        }
    }

    /// Blocks of a position of the output.
    pub(in crate::engine) fn blocks(&self) -> usize {
        self.ending.bias.len()
    }

    /// Multiply-adds of an image.
    pub(in crate::engine) fn multiply_adds(&self) -> usize {
        let weights: usize = self.groups.iter().map(|(_, weights)| weights.len()).sum();
        self.positions.len() * weights * size_of::<Weights>()
    }
}

/// Where the outputs of a [`ByteLayer`] go, one position after the other.
pub(in crate::engine) trait Store {
    /// Takes the sums of a block of channels at a position.
    fn store<S: Sums>(&mut self, layer: &ByteLayer, at: Place, block: usize, sums: S);
}

/// A position of an image of a chunk.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Place {
    image: usize,
    position: usize,
}

/// As numbers.
pub(in crate::engine) struct Numbers<'a>(pub(in crate::engine) MapsMut<'a, Block>);

impl Store for Numbers<'_> {
    #[inline(always)]
    fn store<S: Sums>(&mut self, layer: &ByteLayer, at: Place, block: usize, sums: S) {
        let Ending { scale, bias } = &layer.ending;
        let scaled = sums.numbers().mul(V::<S>::load(&scale[block]));
        let index = at.image * self.0.layout.len() + at.position * layer.blocks() + block;
        scaled.add(V::<S>::load(&bias[block])).store(&mut self.0.blocks[index]);
    }
}

/// As steps, what is negative at 0.
pub(in crate::engine) struct Steps<'a> {
    /// Instead of the bias, for each position and channel, in steps of the output.
    pub(in crate::engine) residual: Option<Maps<'a, Block>>,
    pub(in crate::engine) output: MapsMut<'a, Bytes>,
    /// For each position, its first block of the output.
    pub(in crate::engine) positions: &'a [usize],
}

impl Store for Steps<'_> {
    #[inline(always)]
    fn store<S: Sums>(&mut self, layer: &ByteLayer, at: Place, block: usize, sums: S) {
        let Ending { scale, bias } = &layer.ending;
        let scaled = sums.numbers().mul(V::<S>::load(&scale[block]));
        let addend = match &self.residual {
            Some(residual) => {
                let index = at.image * residual.layout.len() + at.position * layer.blocks();
                &residual.blocks[index + block]
            }
            None => &bias[block],
        };
        let index = at.image * self.output.layout.len() + self.positions[at.position] + block;
        scaled.add(V::<S>::load(addend)).store_bytes(&mut self.output.blocks[index].0);
    }
}

type V<S> = <S as Sums>::Numbers;

/// Computes a layer for every position of every image of a chunk.
#[inline(always)]
pub(in crate::engine) fn byte_layer<S: Sums, const ROWS: usize>(
    layer: &ByteLayer,
    input: Maps<'_, Bytes>,
    mut output: impl Store,
) {
    let mut first = 0;
    for (width, weights) in &layer.groups {
        match width {
            1 => columns::<S, ROWS, 1>(layer, input, weights, first, &mut output),
            2 => columns::<S, ROWS, 2>(layer, input, weights, first, &mut output),
            _ => columns::<S, ROWS, 3>(layer, input, weights, first, &mut output),
        }
        first += width;
    }
}

/// One group of outputs at every position, `ROWS` positions at a time while there are so many.
#[inline(always)]
fn columns<S: Sums, const ROWS: usize, const WIDTH: usize>(
    layer: &ByteLayer,
    input: Maps<'_, Bytes>,
    weights: &[Weights],
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
/// moves the place on and answers `ROWS`.
#[inline(always)]
fn tile<S: Sums, const ROWS: usize, const WIDTH: usize, const SPLIT: usize>(
    layer: &ByteLayer,
    input: Maps<'_, Bytes>,
    weights: &[[Weights; WIDTH]],
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
        for column in 0..WIDTH {
            let mut sum = sums[0][row][column];
            for part in &sums[1..] {
                sum = sum.add(part[row][column]);
            }
            output.store(layer, at, first + column, sum);
        }
    }
    ROWS
}

/// Adds the products of one group of inputs to the sums of every row.
#[inline(always)]
fn add_group<S: Sums, const ROWS: usize, const WIDTH: usize>(
    sums: &mut [[S; WIDTH]; ROWS],
    rows: &[&[[u8; Bytes::GROUP]]; ROWS],
    group: usize,
    weights: &[Weights; WIDTH],
) {
    for (sums, row) in sums.iter_mut().zip(rows) {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = sum.add_products(row[group], weights);
        }
    }
}

/// The first layer: a 3×3 convolution of one channel, ReLU and a 2×2 maximum, from pixels.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ByteStem {
    /// `[3, blocks]`: a row of taps, and a zero behind it.
    weights: Box<[Weights]>,
    ending: Ending,
    /// What stands around the image; `None` where the convolution stays inside.
    border: Option<u8>,
}

/// Width of an image with a border of one pixel, and what a group reaches beyond.
const STORED: usize = 32;
/// Height of an image with a border of one pixel.
const PADDED: usize = Image::HEIGHT + 2;

impl ByteStem {
    /// Quantises a layer; a step of its input is a pixel's.
    pub(in crate::engine) fn new<W>(real: &Real<W>, border: Option<u8>) -> Self
    where
        W: Fn(usize, usize, usize) -> f64,
    {
        let weight_steps = real.weight_steps();
        let blocks = real.outputs.div_ceil(Block::LANES);
        let weights = |index: usize| {
            let (row, block) = (index / blocks, index % blocks);
            Weights(std::array::from_fn(|lane| {
                std::array::from_fn(|column| match column {
                    3 => 0,
                    _ => {
                        let output = block * Block::LANES + lane;
                        real.steps(&weight_steps, output, 0, row * 3 + column)
                    }
                })
            }))
        };
        let weights = (0..3 * blocks).map(weights).collect();
        Self { weights, ending: real.ending(&weight_steps), border }
    }

    /// Multiply-adds of an image.
    pub(in crate::engine) fn multiply_adds(&self) -> usize {
        let side = Image::WIDTH - if self.border.is_some() { 0 } else { 2 };
        side * side * self.weights.len() * size_of::<Weights>()
    }
}

/// Computes the pooled features of one image.
#[inline(always)]
pub(in crate::engine) fn byte_stem<S: Sums, const WIDTH: usize>(
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

    let (weights, _) = stem.weights.as_chunks::<WIDTH>();
    let weights: &[[Weights; WIDTH]; 3] = weights.first_chunk().expect("three rows of taps");
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
    weights: &[[Weights; WIDTH]; 3],
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
        let scaled = largest.numbers().mul(V::<S>::load(&scale[block]));
        scaled.add(V::<S>::load(&bias[block])).store_bytes(&mut output.0);
    }
}

/// A 2×2 maximum of every image of a chunk.
#[inline(always)]
pub(in crate::engine) fn byte_pool(input: Maps<'_, Bytes>, mut output: MapsMut<'_, Bytes>) {
    let blocks = input.layout.blocks;
    for image in 0..input.images() {
        let (input, mut output) = (input.image(image), output.image(image));
        for row in 0..output.layout.side {
            let (upper, lower) = (input.row(2 * row), input.row(2 * row + 1));
            let output = output.row(row).chunks_exact_mut(blocks);
            let pairs = upper.chunks_exact(2 * blocks).zip(lower.chunks_exact(2 * blocks));
            for (output, (upper, lower)) in output.zip(pairs) {
                for (block, output) in output.iter_mut().enumerate() {
                    let [a, b, c, d] =
                        [upper[block], upper[blocks + block], lower[block], lower[blocks + block]];
                    for (lane, largest) in output.0.iter_mut().enumerate() {
                        *largest = a.0[lane].max(b.0[lane]).max(c.0[lane].max(d.0[lane]));
                    }
                }
            }
        }
    }
}
