//! 3×3 convolutions by Winograd's minimal filtering, F(4×4, 3×3): 36 products where the definition
//! takes 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).
//!
//! At the points 0, ±1, ±2 and infinity the rounding error is four times that of the definition,
//! which leaves logits within 1e-4 of it.

use super::matrix::{Matrix, multiply};
use crate::engine::{
    isa::{Block, Vector},
    layout::{Maps, MapsMut, PATCH, TILE},
};

/// Products of a tile.
const PRODUCTS: usize = PATCH * PATCH;
/// Blocks between the tiles of one product and of the next: without them, those of one tile fall
/// into few sets of the cache.
const GAP: usize = 1;
/// Tiles that go through the three steps together.
const TILES: usize = 16;

/// A 3×3 convolution with a border of one, its ReLU, and what else happens before one store.
#[derive(Clone, Debug)]
pub(crate) struct Winograd {
    /// The transformed filter: a matrix, `[input channels, output channels]`, for each product.
    products: Box<[Matrix]>,
    /// `[output blocks]`
    bias: Box<[Block]>,
    /// Whether a 2×2 maximum follows.
    pool: bool,
}

/// What a thread needs to compute any [`Winograd`] of a plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles {
    /// Transformed inputs, `[products, tiles, input blocks]`.
    inputs: Box<[Block]>,
    /// Products, `[products, tiles, output blocks]`.
    outputs: Box<[Block]>,
}

impl Tiles {
    /// Room for convolutions of at most so many blocks of channels.
    pub(crate) fn with_blocks(blocks: usize) -> Self {
        let room = || vec![Block::ZERO; PRODUCTS * (TILES * blocks + GAP)].into();
        Self { inputs: room(), outputs: room() }
    }

    /// Bytes of such room.
    pub(crate) const fn bytes(blocks: usize) -> usize {
        2 * PRODUCTS * (TILES * blocks + GAP) * size_of::<Block>()
    }
}

impl Winograd {
    /// Transforms the filters `weights`, `[outputs, inputs, 3, 3]`.
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        weights: &[f64],
        bias: Box<[Block]>,
        pool: bool,
    ) -> Self {
        let (filters, _) = weights.as_chunks::<9>();
        let transformed: Vec<[f32; PRODUCTS]> = filters.iter().map(transform_filter).collect();
        let depth = inputs.next_multiple_of(Block::LANES);
        let product = |index: usize| {
            let weight = |input: usize, output: usize| {
                if input < inputs { transformed[output * inputs + input][index] } else { 0.0 }
            };
            Matrix::pack(depth, outputs, |_| 0.0, weight)
        };
        Self { products: (0..PRODUCTS).map(product).collect(), bias, pool }
    }

    /// Multiply-adds of an image whose map has `side` rows and columns.
    pub(crate) fn multiply_adds(&self, side: usize) -> usize {
        let products: usize = self.products.iter().map(Matrix::multiply_adds).sum();
        side.div_ceil(TILE).pow(2) * products
    }

    /// Blocks of output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.bias.len()
    }
}

/// Spreads a filter over the products: G of Lavin and Gray on both sides.
fn transform_filter(taps: &[f64; 9]) -> [f32; PRODUCTS] {
    let line = |[a, b, c]: [f64; 3]| {
        [
            a / 4.0,
            -(a + b + c) / 6.0,
            -(a - b + c) / 6.0,
            (a + 2.0 * b + 4.0 * c) / 24.0,
            (a - 2.0 * b + 4.0 * c) / 24.0,
            c,
        ]
    };
    let columns = [0, 1, 2].map(|column| line([taps[column], taps[3 + column], taps[6 + column]]));
    let mut products = [0.0; PRODUCTS];
    for (row, products) in products.chunks_mut(PATCH).enumerate() {
        let transformed = line(columns.map(|column| column[row]));
        for (product, transformed) in products.iter_mut().zip(transformed) {
            *product = transformed as f32;
        }
    }
    products
}

/// Convolves every image of a chunk: `relu(convolution + bias + residual)`, pooled if asked for.
///
/// `input` has a border; `residual` is as large as the convolution's output, and `output` half as
/// large if pooled.
#[inline(always)]
pub(crate) fn winograd<V: Vector, const ROWS: usize>(
    layer: &Winograd,
    input: Maps<'_, Block>,
    residual: Option<Maps<'_, Block>>,
    mut output: MapsMut<'_, Block>,
    scratch: &mut Tiles,
) {
    let side = input.layout.side.div_ceil(TILE);
    let tiles = input.images() * side * side;
    let place = |tile: usize| {
        let (image, tile) = (tile / (side * side), tile % (side * side));
        (image, [tile / side * TILE, tile % side * TILE])
    };
    for first in (0..tiles).step_by(TILES) {
        let count = TILES.min(tiles - first);
        for tile in 0..count {
            let (image, corner) = place(first + tile);
            transform_input::<V>(input.image(image), corner, &mut scratch.inputs, [tile, count]);
        }
        let [from, to] = [input.layout.blocks, layer.blocks()].map(|blocks| count * blocks);
        let inputs = scratch.inputs.chunks_exact(from + GAP);
        let outputs = scratch.outputs.chunks_exact_mut(to + GAP);
        for ((product, inputs), outputs) in layer.products.iter().zip(inputs).zip(outputs) {
            multiply::<V, ROWS>(&inputs[..from], product, &mut outputs[..to]);
        }
        for tile in 0..count {
            let (image, corner) = place(first + tile);
            let residual = residual.map(|residual| residual.image(image));
            let output = output.image(image);
            transform_output::<V>(layer, &scratch.outputs, [tile, count], residual, output, corner);
        }
    }
}

/// Spreads the patch at a corner over the products: B of Lavin and Gray on both sides.
#[inline(always)]
fn transform_input<V: Vector>(
    map: Maps<'_, Block>,
    [row, column]: [usize; 2],
    transformed: &mut [Block],
    [tile, tiles]: [usize; 2],
) {
    let blocks = map.layout.blocks;
    let patch = &map.blocks[map.layout.patch(row, column)..];
    for block in 0..blocks {
        let mut columns = [[V::splat(0.0); PATCH]; PATCH];
        for (column, transformed) in columns.iter_mut().enumerate() {
            let mut inputs = [V::splat(0.0); PATCH];
            for (row, input) in inputs.iter_mut().enumerate() {
                *input = V::load(&patch[row * map.layout.row() + column * blocks + block]);
            }
            *transformed = spread(inputs);
        }
        for row in 0..PATCH {
            let mut inputs = [V::splat(0.0); PATCH];
            for (input, column) in inputs.iter_mut().zip(&columns) {
                *input = column[row];
            }
            for (column, product) in spread(inputs).into_iter().enumerate() {
                let index = (row * PATCH + column) * (tiles * blocks + GAP) + tile * blocks + block;
                product.store(&mut transformed[index]);
            }
        }
    }
}

/// Gathers the products of a tile: A of Lavin and Gray on both sides; then bias, residual, ReLU,
/// maximum, and one store.
#[inline(always)]
fn transform_output<V: Vector>(
    layer: &Winograd,
    products: &[Block],
    [tile, tiles]: [usize; 2],
    residual: Option<Maps<'_, Block>>,
    output: MapsMut<'_, Block>,
    [row, column]: [usize; 2],
) {
    let (blocks, side) = (layer.blocks(), output.layout.side);
    for block in 0..blocks {
        let mut columns = [[V::splat(0.0); TILE]; PATCH];
        for (column, gathered) in columns.iter_mut().enumerate() {
            let mut inputs = [V::splat(0.0); PATCH];
            for (row, input) in inputs.iter_mut().enumerate() {
                let index = (row * PATCH + column) * (tiles * blocks + GAP) + tile * blocks + block;
                *input = V::load(&products[index]);
            }
            *gathered = gather(inputs);
        }
        let bias = V::load(&layer.bias[block]);
        let mut sums = [[V::splat(0.0); TILE]; TILE];
        for (index, sums) in sums.iter_mut().enumerate() {
            let mut inputs = [V::splat(0.0); PATCH];
            for (input, column) in inputs.iter_mut().zip(&columns) {
                *input = column[index];
            }
            for (sum, gathered) in sums.iter_mut().zip(gather(inputs)) {
                *sum = gathered.add(bias);
            }
        }
        if let Some(residual) = residual {
            let reach = residual.layout.side;
            for (row, sums) in (row..reach).zip(&mut sums) {
                for (column, sum) in (column..reach).zip(sums) {
                    let index = residual.layout.index(row, column) + block;
                    *sum = sum.add(V::load(&residual.blocks[index]));
                }
            }
        }
        if layer.pool {
            for (row, sums) in (row / 2..side).zip(sums.as_chunks::<2>().0) {
                for (column, first) in (column / 2..side).zip([0, 2]) {
                    let [upper, lower] = [sums[0], sums[1]];
                    let largest = upper[first].max(upper[first + 1]);
                    let largest = largest.max(lower[first].max(lower[first + 1]));
                    let index = output.layout.index(row, column) + block;
                    largest.max(V::splat(0.0)).store(&mut output.blocks[index]);
                }
            }
        } else {
            for (row, sums) in (row..side).zip(&sums) {
                for (column, sum) in (column..side).zip(sums) {
                    let index = output.layout.index(row, column) + block;
                    sum.max(V::splat(0.0)).store(&mut output.blocks[index]);
                }
            }
        }
    }
}

/// Six inputs along a line to their part in six products.
#[inline(always)]
fn spread<V: Vector>([d0, d1, d2, d3, d4, d5]: [V; PATCH]) -> [V; PATCH] {
    let [two, four, minus_four, minus_five] = [2.0, 4.0, -4.0, -5.0].map(V::splat);
    let (even, odd) = (minus_four.mul_add(d2, d4), minus_four.mul_add(d1, d3));
    let (even_2, odd_2) = (d4.sub(d2), d3.sub(d1));
    [
        four.mul_add(d0, minus_five.mul_add(d2, d4)),
        even.add(odd),
        even.sub(odd),
        two.mul_add(odd_2, even_2),
        V::splat(-2.0).mul_add(odd_2, even_2),
        four.mul_add(d1, minus_five.mul_add(d3, d5)),
    ]
}

/// Six products to the four outputs along a line.
#[inline(always)]
fn gather<V: Vector>([m0, m1, m2, m3, m4, m5]: [V; PATCH]) -> [V; TILE] {
    let [two, four, eight] = [2.0, 4.0, 8.0].map(V::splat);
    let (sum_1, difference_1) = (m1.add(m2), m1.sub(m2));
    let (sum_2, difference_2) = (m3.add(m4), m3.sub(m4));
    [
        m0.add(sum_1.add(sum_2)),
        two.mul_add(difference_2, difference_1),
        four.mul_add(sum_2, sum_1),
        eight.mul_add(difference_2, difference_1.add(m5)),
    ]
}
