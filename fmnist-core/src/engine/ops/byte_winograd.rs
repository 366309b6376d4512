//! 3×3 convolutions of bytes by Winograd's minimal filtering, F(4×4, 3×3), in integers: for instruction sets that
//! multiply 16-bit numbers and no bytes. A 4×4 tile takes 36 products of a channel where the definition takes 144,
//! and the sums are those of the definition to the last bit.
//!
//! The points are those of [`winograd`](super::winograd), and nothing is a fraction: the rows of the filter's
//! transformation are 24, −6, −6, 24, 24 and 6 times what they are, and those of the outputs' make of it 24, 12, 6
//! and 6 times each output along a line. Patches of bytes become numbers of at most 68 × 255, and filters of quanta
//! of at most 49 × 127: both have 16 bits. The sums of their products need more than 32, and wrap. Of both
//! directions a sum is 9 × 2ⁿ times the output, with n from 2 to 6; modulo 2³² there is a number that 9 times makes
//! 1, so that the lowest 32 bits tell any output of at most 26 bits, which is checked when a layer is compiled.

use std::{array, marker::PhantomData};

use super::{
    byte_output::{Ending, Place, Quanta, Store},
    bytes::Real,
    winograd::{GAP, Lines, PRODUCTS, Room, Tile},
};
use crate::engine::{
    isa::{Block, Bytes, Pairs, Row, Shorts, Sums, Words, pairs},
    layout::{Maps, MapsMut, PATCH, TILE},
    target::Target,
};

/// Blocks of outputs that one pass keeps in registers.
const WIDTH: usize = 3;
/// How many times what it is each output along a line comes out: six times two to the power of these.
const POWERS: [u32; TILE] = [2, 1, 0, 0];
/// 9 times this is 1, in 32 bits.
const NINTH: i32 = 954_437_177;

/// A 3×3 convolution of bytes with a border of one.
#[derive(Clone, Debug)]
pub(crate) struct ByteWinograd {
    /// The transformed filter.
    products: Box<[Matrix]>,
    ending: Ending,
}

/// Of each group of blocks of outputs, how many blocks it has, and its weights as `[pairs of inputs, blocks]`.
#[derive(Clone, Debug)]
struct Matrix {
    groups: Box<[(usize, Box<[Pairs]>)]>,
}

impl ByteWinograd {
    /// Quantises a layer and transforms its filters; `None` if an output may become too large.
    pub(crate) fn new<W>(real: &Real<W>, target: Target) -> Option<Self>
    where
        W: Fn(usize, usize, usize) -> f64,
    {
        const MOST: i64 = 1 << (32 - 6 - 1);
        let quanta = real.weight_quanta();
        let filter = |output, input| array::from_fn(|tap| real.quanta(&quanta, output, input, tap));
        let blocks = real.outputs.div_ceil(Block::LANES);
        let width = blocks.div_ceil(blocks.div_ceil(WIDTH));
        let inputs = real.inputs.next_multiple_of(Block::LANES);
        let mut transformed = Vec::with_capacity(blocks * Block::LANES * inputs);
        for output in 0..blocks * Block::LANES {
            let filters: Vec<[i8; 9]> = (0..inputs).map(|input| filter(output, input)).collect();
            let weights = filters.as_flattened().iter().map(|weight| i64::from(*weight).abs());
            if weights.sum::<i64>() * i64::from(u8::MAX) >= MOST {
                return None;
            }
            transformed.extend(filters.into_iter().map(transform_filter));
        }
        let product = |index: usize| {
            let group = |first: usize| {
                let width = width.min(blocks - first);
                let pair = |at: usize| {
                    let (pair, block) = (at / width, first + at % width);
                    target.pairs(|lane, member| {
                        let filters = &transformed[(block * Block::LANES + lane) * inputs..];
                        filters[2 * pair + member][index]
                    })
                };
                (width, (0..inputs / 2 * width).map(pair).collect())
            };
            Matrix { groups: (0..blocks).step_by(width).map(group).collect() }
        };
        let products = (0..PRODUCTS).map(product).collect();
        Some(Self { products, ending: real.ending(&quanta) })
    }

    /// Multiply-adds of an image whose map has `side` rows and columns.
    pub(crate) fn multiply_adds(&self, side: usize) -> usize {
        let pairs: usize = self
            .products
            .iter()
            .flat_map(|product| &product.groups)
            .map(|(_, pairs)| pairs.len())
            .sum();
        side.div_ceil(TILE).pow(2) * pairs * 2 * Block::LANES
    }

    /// Blocks of output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.ending.blocks()
    }
}

/// Spreads a filter over the products: G of Lavin and Gray on both sides, in whole numbers.
fn transform_filter(taps: [i8; 9]) -> [i16; PRODUCTS] {
    let line = |[a, b, c]: [i16; 3]| {
        [6 * a, a + b + c, a - b + c, a + 2 * b + 4 * c, a - 2 * b + 4 * c, 6 * c]
    };
    let taps = taps.map(i16::from);
    let columns = [0, 1, 2].map(|column| line([taps[column], taps[3 + column], taps[6 + column]]));
    let mut products = [0; PRODUCTS];
    for (row, products) in products.chunks_mut(PATCH).enumerate() {
        products.copy_from_slice(&line(columns.map(|column| column[row])));
    }
    products
}

/// Convolves every image of a chunk, whose maps have a border, as [`ByteLayer::quanta`](super::ByteLayer::quanta)
/// does.
#[inline(always)]
pub(crate) fn byte_winograd<S: Sums, const ROWS: usize>(
    layer: &ByteWinograd,
    input: Maps<'_, Bytes>,
    residual: Option<Maps<'_, Block>>,
    output: MapsMut<'_, Bytes>,
    positions: &[usize],
    room: &mut Room<Words, Row>,
) {
    let (blocks, side) = (layer.blocks(), input.layout.side);
    let mut output = Quanta { ending: &layer.ending, residual, output, positions };
    for (count, tiles) in Tile::together(input.images(), input.layout) {
        for tile in tiles.clone() {
            tile.spread::<InIntegers<S>>(input, &mut room.inputs);
        }
        let [from, to] = [input.layout.blocks, blocks].map(|blocks| count * blocks);
        let inputs = room.inputs.chunks_exact(from + GAP);
        let outputs = room.outputs.chunks_exact_mut(to + GAP);
        for ((product, inputs), outputs) in layer.products.iter().zip(inputs).zip(outputs) {
            multiply::<S, ROWS>(pairs(&inputs[..from]), product, &mut outputs[..to], count);
        }
        for tile in tiles {
            let [row, column] = tile.corner;
            for block in 0..blocks {
                let sums = tile.gather::<InIntegers<S>>(&room.outputs, [block, blocks]);
                for (index, sums) in sums.into_iter().enumerate().take(side - row) {
                    let at = Place { image: tile.image, position: (row + index) * side + column };
                    let sums = quotients(sums, POWERS[index]).into_iter().take(side - column);
                    output.store(at, block, sums.map(|sum| [sum]));
                }
            }
        }
    }
}

/// Divides a row of a tile by what came from the filters.
#[inline(always)]
fn quotients<S: Sums>(mut sums: [S; TILE], row_power: u32) -> [S; TILE] {
    for (sum, power) in sums.iter_mut().zip(POWERS) {
        // Of both sixes it is four times nine.
        *sum = sum.mul(NINTH).shr(2 + row_power + power);
    }
    sums
}

/// One product of every tile.
///
/// # Shapes
/// - `input`: `[tiles, pairs]`
/// - `output`: `[tiles, blocks]`
#[inline(always)]
fn multiply<S: Sums, const ROWS: usize>(
    input: &[[i16; 2]],
    matrix: &Matrix,
    output: &mut [Row],
    tiles: usize,
) {
    let stride = output.len() / tiles;
    let mut first = 0;
    for (width, weights) in &matrix.groups {
        let output = &mut output[first..];
        match width {
            1 => columns::<S, ROWS, 1>(input, weights, output, stride, tiles),
            2 => columns::<S, ROWS, 2>(input, weights, output, stride, tiles),
            _ => columns::<S, ROWS, 3>(input, weights, output, stride, tiles),
        }
        first += width;
    }
}

/// One group's columns of every tile, `ROWS` at a time while there are so many.
#[inline(always)]
fn columns<S: Sums, const ROWS: usize, const WIDTH: usize>(
    input: &[[i16; 2]],
    weights: &[Pairs],
    output: &mut [Row],
    stride: usize,
    tiles: usize,
) {
    let (weights, _) = weights.as_chunks::<WIDTH>();
    let mut row = 0;
    while row < tiles {
        let (input, output) = (&input[row * weights.len()..], &mut output[row * stride..]);
        row += match tiles - row {
            left if left >= ROWS => rows::<S, ROWS, WIDTH>(input, weights, output, stride),
            left if ROWS > 4 && left >= 4 => rows::<S, 4, WIDTH>(input, weights, output, stride),
            left if left >= 2 => rows::<S, 2, WIDTH>(input, weights, output, stride),
            _ => rows::<S, 1, WIDTH>(input, weights, output, stride),
        };
    }
}

/// `ROWS` × `WIDTH` sums in registers; returns `ROWS`.
#[inline(always)]
fn rows<S: Sums, const ROWS: usize, const WIDTH: usize>(
    input: &[[i16; 2]],
    weights: &[[Pairs; WIDTH]],
    output: &mut [Row],
    stride: usize,
) -> usize {
    let depth = weights.len();
    let mut rows = [input; ROWS];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &input[index * depth..][..depth];
    }
    let mut sums = [[S::zero(); WIDTH]; ROWS];
    for (pair, weights) in weights.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = sum.add_pair(row[pair], weights);
            }
        }
    }
    for (index, sums) in sums.iter().enumerate() {
        for (sum, output) in sums.iter().zip(&mut output[index * stride..][..WIDTH]) {
            sum.store(output);
        }
    }
    ROWS
}

/// Exact; outputs along a line are 24, 12, 6 and 6 times what they are.
struct InIntegers<S>(PhantomData<S>);

impl<S: Sums> Lines for InIntegers<S> {
    type Map = Bytes;
    type Spread = Words;
    type Product = Row;
    type Input = S::Shorts;
    type Sum = S;

    #[inline(always)]
    fn load(map: &Bytes) -> S::Shorts {
        S::Shorts::widen(map)
    }

    #[inline(always)]
    fn spread([d0, d1, d2, d3, d4, d5]: [S::Shorts; PATCH]) -> [S::Shorts; PATCH] {
        let (even, odd) = (d4.sub(d2.quadruple()), d3.sub(d1.quadruple()));
        let (even_2, odd_2) = (d4.sub(d2), d3.sub(d1));
        let odd_2 = odd_2.add(odd_2);
        [
            d0.sub(d2).quadruple().add(even_2),
            even.add(odd),
            even.sub(odd),
            even_2.add(odd_2),
            even_2.sub(odd_2),
            d1.sub(d3).quadruple().add(d5.sub(d3)),
        ]
    }

    #[inline(always)]
    fn store(input: S::Shorts, spread: &mut Words) {
        input.store(spread);
    }

    #[inline(always)]
    fn load_product(product: &Row) -> S {
        S::load(product)
    }

    #[inline(always)]
    fn gather([m0, m1, m2, m3, m4, m5]: [S; PATCH]) -> [S; TILE] {
        let (sum_1, difference_1) = (m1.add(m2), m1.sub(m2));
        let (sum_2, difference_2) = (m3.add(m4), m3.sub(m4));
        [
            m0.add(sum_2).sub(sum_1.shl(2)),
            difference_2.sub(difference_1.shl(1)),
            sum_2.sub(sum_1),
            m5.add(difference_2.shl(1)).sub(difference_1),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::engine::{
        isa::{Isa, Work},
        layout::Layout,
        ops::ByteLayer,
        target::ByteMethod,
    };

    /// The same layer for the same maps, by filtering and directly.
    struct Both<'a> {
        filtered: &'a ByteWinograd,
        direct: &'a ByteLayer,
        input: Maps<'a, Bytes>,
        positions: &'a [usize],
        outputs: [MapsMut<'a, Bytes>; 2],
    }

    impl Work for Both<'_> {
        #[inline(always)]
        fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
            let Self { filtered, direct, input, positions, outputs: [one, other] } = self;
            let blocks = one.layout.blocks.max(input.layout.blocks);
            let mut room = Room::with_blocks(blocks, (Words::ZERO, Row::ZERO));
            byte_winograd::<S, ROWS>(filtered, input, None, one, positions, &mut room);
            direct.quanta::<S, POSITIONS>(input, None, other, positions);
        }
    }

    /// What a case is made of.
    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Any,
        /// At the ends of their range.
        Extreme,
        /// Full bytes, and the largest weights of one sign for each output: the largest sums.
        Largest,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn filtered_sums_are_those_of_the_definition(
            kind in prop::sample::select(vec![Kind::Any, Kind::Extreme, Kind::Largest]),
            [side, inputs, outputs, images] in [1..=15_usize, 1..=115, 1..=33, 1..=3],
            output_quantum in prop::sample::select(vec![1.0, 1e3, 1.4e5]),
            seed: u64,
        ) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut weight = |output: usize| match kind {
                Kind::Any => random.random_range(-127..=127),
                Kind::Extreme => if random.random() { 127 } else { -127 },
                Kind::Largest => if output.is_multiple_of(2) { 127 } else { -127 },
            };
            let count = outputs * inputs * 9;
            let weights: Vec<i8> = (0..count).map(|at| weight(at / (inputs * 9))).collect();
            let real = Real {
                inputs,
                outputs,
                taps: 3,
                weight: |output: usize, input: usize, tap: usize| {
                    f64::from(weights[(output * inputs + input) * 9 + tap])
                },
                // In the middle of what a byte holds, so that sums of both signs are told apart.
                bias: vec![128.0 * output_quantum; outputs].into(),
                input_quantum: 1.0,
                output_quantum,
            };
            let [from, to] = [inputs, outputs].map(|channels| channels.div_ceil(Block::LANES));
            let layout = Layout::bordered(side, from);
            let mut input = vec![Bytes::ZERO; images * layout.len()];
            for image in input.chunks_mut(layout.len()) {
                for first in layout.positions() {
                    for channels in &mut image[first..first + from] {
                        for byte in &mut channels.0 {
                            *byte = match kind {
                                Kind::Any => random.random(),
                                Kind::Extreme => if random.random() { 255 } else { 0 },
                                Kind::Largest => 255,
                            };
                        }
                    }
                }
            }
            let whole = Layout::dense(side, to);
            let positions: Vec<usize> = whole.positions().collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let target = |method| Target { isa, method };
                let filtered = ByteWinograd::new(&real, target(ByteMethod::Winograd)).unwrap();
                let direct = ByteLayer::new(&real, &layout, target(ByteMethod::Direct));
                let mut outputs = [[7; 16], [8; 16]].map(|bytes| vec![Bytes(bytes); images * whole.len()]);
                let [one, other] = &mut outputs;
                isa.run(Both {
                    filtered: &filtered,
                    direct: &direct,
                    input: Maps::first(images, layout, &input),
                    positions: &positions,
                    outputs: [one, other].map(|blocks| MapsMut::first(images, whole, blocks)),
                });
                prop_assert_eq!(&outputs[0], &outputs[1], "{}", isa);
            }
        }
    }

    #[test]
    fn a_layer_whose_sums_may_have_more_than_26_bits_is_not_filtered() {
        let filtered = |inputs: usize| {
            let real = Real {
                inputs,
                outputs: 1,
                taps: 3,
                weight: |_: usize, _: usize, _: usize| -127.0,
                bias: [0.0].into(),
                input_quantum: 1.0,
                output_quantum: 1.0,
            };
            ByteWinograd::new(&real, Isa::Portable.into()).is_some()
        };
        // 255 × 127 × 9 × 115 is below 2²⁵.
        assert!(filtered(115));
        assert!(!filtered(116));
    }
}
