//! 3×3 convolutions by Winograd's minimal filtering, F(4×4, 3×3): 36 products where the definition
//! takes 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).
//!
//! At the points 0, ±1, ±2 and infinity the rounding error is four times that of the definition,
//! which leaves logits within 1e-4 of it.

use std::marker::PhantomData;

use super::matrix::{Matrix, multiply};
use crate::engine::{
    isa::{Block, Vector},
    layout::{Layout, Maps, MapsMut, PATCH, TILE},
};

/// Products of a tile.
pub(super) const PRODUCTS: usize = PATCH * PATCH;
/// Blocks between the tiles of one product and of the next: without them, those of one tile fall
/// into few sets of the cache.
pub(super) const GAP: usize = 1;
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

/// What a thread needs to compute any such convolution of a plan: of numbers, or of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Room<I, O> {
    /// Transformed inputs, `[products, tiles, input blocks]`.
    pub(super) inputs: Box<[I]>,
    /// Products, `[products, tiles, output blocks]`.
    pub(super) outputs: Box<[O]>,
}

impl<I: Copy, O: Copy> Room<I, O> {
    /// Room for convolutions of at most so many blocks of channels, which holds this at first.
    pub(crate) fn with_blocks(blocks: usize, (input, output): (I, O)) -> Self {
        let length = Self::length(blocks);
        Self { inputs: vec![input; length].into(), outputs: vec![output; length].into() }
    }

    /// Bytes of such room.
    pub(crate) const fn bytes(blocks: usize) -> usize {
        Self::length(blocks) * (size_of::<I>() + size_of::<O>())
    }

    const fn length(blocks: usize) -> usize {
        if blocks == 0 { 0 } else { PRODUCTS * (TILES * blocks + GAP) }
    }
}

/// The arithmetic along a line of a tile.
pub(super) trait Lines {
    /// In the maps that are convolved.
    type Map;
    /// A part of a patch in memory.
    type Spread;
    /// A product in memory.
    type Product;
    /// An input in registers.
    type Input: Copy;
    /// A sum in registers.
    type Sum: Copy;
    fn load(map: &Self::Map) -> Self::Input;
    /// Six inputs to their part in six products.
    fn spread(inputs: [Self::Input; PATCH]) -> [Self::Input; PATCH];
    fn store(input: Self::Input, spread: &mut Self::Spread);
    fn load_product(product: &Self::Product) -> Self::Sum;
    /// Six products to the four outputs.
    fn gather(products: [Self::Sum; PATCH]) -> [Self::Sum; TILE];
}

/// A tile of an image of a chunk, and which of those it is that go through the three steps together.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) image: usize,
    /// Its upper left position.
    pub(super) corner: [usize; 2],
    index: usize,
    /// How many go together.
    count: usize,
}

impl Tile {
    /// The tiles of maps of a layout, as many as go together at a time.
    pub(super) fn together(
        images: usize,
        layout: Layout,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = Self> + Clone)> {
        let side = layout.side.div_ceil(TILE);
        let tiles = images * side * side;
        (0..tiles).step_by(TILES).map(move |first| {
            let count = TILES.min(tiles - first);
            let tile = move |index: usize| {
                let (image, tile) =
                    ((first + index) / (side * side), (first + index) % (side * side));
                Self { image, corner: [tile / side * TILE, tile % side * TILE], index, count }
            };
            (count, (0..count).map(tile))
        })
    }

    /// Where a product of this tile lies among those of all.
    #[inline(always)]
    const fn product(self, [row, column]: [usize; 2], blocks: usize) -> usize {
        (row * PATCH + column) * (self.count * blocks + GAP) + self.index * blocks
    }

    /// Spreads its patch over the products: B of Lavin and Gray on both sides.
    #[inline(always)]
    pub(super) fn spread<L: Lines>(self, maps: Maps<'_, L::Map>, products: &mut [L::Spread]) {
        let (map, [row, column]) = (maps.image(self.image), self.corner);
        let blocks = map.layout.blocks;
        let patch = &map.blocks[map.layout.patch(row, column)..];
        let nothing = L::load(&patch[0]);
        for block in 0..blocks {
            let mut columns = [[nothing; PATCH]; PATCH];
            for (column, spread) in columns.iter_mut().enumerate() {
                let mut inputs = [nothing; PATCH];
                for (row, input) in inputs.iter_mut().enumerate() {
                    *input = L::load(&patch[row * map.layout.row() + column * blocks + block]);
                }
                *spread = L::spread(inputs);
            }
            for row in 0..PATCH {
                for (column, product) in L::spread(across(&columns, row)).into_iter().enumerate() {
                    L::store(product, &mut products[self.product([row, column], blocks) + block]);
                }
            }
        }
    }

    /// Gathers the products of a block of its outputs: A of Lavin and Gray on both sides.
    #[inline(always)]
    pub(super) fn gather<L: Lines>(
        self,
        products: &[L::Product],
        [block, blocks]: [usize; 2],
    ) -> [[L::Sum; TILE]; TILE] {
        let nothing = L::load_product(&products[0]);
        let mut columns = [[nothing; TILE]; PATCH];
        for (column, gathered) in columns.iter_mut().enumerate() {
            let mut inputs = [nothing; PATCH];
            for (row, input) in inputs.iter_mut().enumerate() {
                *input = L::load_product(&products[self.product([row, column], blocks) + block]);
            }
            *gathered = L::gather(inputs);
        }
        let mut rows = [[nothing; TILE]; TILE];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = L::gather(across(&columns, index));
        }
        rows
    }
}

/// A row of columns. Here and around are loops and a trait: neither what maps an array nor what calls a function by
/// its value is compiled for the instructions.
#[inline(always)]
fn across<R: Copy, const ROWS: usize>(columns: &[[R; ROWS]; PATCH], row: usize) -> [R; PATCH] {
    let mut across = [columns[0][row]; PATCH];
    for (number, column) in across.iter_mut().zip(columns) {
        *number = column[row];
    }
    across
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
        let blocks = outputs.div_ceil(Block::LANES);
        // `[products, inputs, blocks]`, as they are packed.
        let mut transformed = vec![Block::ZERO; PRODUCTS * inputs * blocks];
        for index in 0..inputs * blocks {
            let (input, first) = (index / blocks, index % blocks * Block::LANES);
            let mut products = [Block::ZERO; PRODUCTS];
            for (lane, output) in (first..outputs).take(Block::LANES).enumerate() {
                let numbers = transform_filter(&filters[output * inputs + input]);
                for (product, number) in products.iter_mut().zip(numbers) {
                    product.0[lane] = number;
                }
            }
            for (product, block) in products.into_iter().enumerate() {
                transformed[product * inputs * blocks + index] = block;
            }
        }
        let depth = inputs.next_multiple_of(Block::LANES);
        let product = |product: usize| {
            let weights = |input: usize, block: usize| {
                let weights = &transformed[product * inputs * blocks..][..inputs * blocks];
                weights.get(input * blocks + block).copied().unwrap_or(Block::ZERO)
            };
            Matrix::of_blocks(depth, blocks, |_| Block::ZERO, weights)
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
        let (once, twice) = (a + c, a + 4.0 * c);
        [
            a * 0.25,
            (once + b) * (-1.0 / 6.0),
            (once - b) * (-1.0 / 6.0),
            (twice + 2.0 * b) * (1.0 / 24.0),
            (twice - 2.0 * b) * (1.0 / 24.0),
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
    room: &mut Room<Block, Block>,
) {
    for (count, tiles) in Tile::together(input.images(), input.layout) {
        for tile in tiles.clone() {
            tile.spread::<InNumbers<V>>(input, &mut room.inputs);
        }
        let [from, to] = [input.layout.blocks, layer.blocks()].map(|blocks| count * blocks);
        let inputs = room.inputs.chunks_exact(from + GAP);
        let outputs = room.outputs.chunks_exact_mut(to + GAP);
        for ((product, inputs), outputs) in layer.products.iter().zip(inputs).zip(outputs) {
            multiply::<V, ROWS>(&inputs[..from], product, &mut outputs[..to]);
        }
        for tile in tiles {
            let residual = residual.map(|residual| residual.image(tile.image));
            transform_output::<V>(layer, &room.outputs, tile, residual, output.image(tile.image));
        }
    }
}

/// Gathers the products of a tile; then bias, residual, ReLU, maximum, and one store.
#[inline(always)]
fn transform_output<V: Vector>(
    layer: &Winograd,
    products: &[Block],
    tile: Tile,
    residual: Option<Maps<'_, Block>>,
    output: MapsMut<'_, Block>,
) {
    let (blocks, side, [row, column]) = (layer.blocks(), output.layout.side, tile.corner);
    for block in 0..blocks {
        let bias = V::load(&layer.bias[block]);
        let mut sums = tile.gather::<InNumbers<V>>(products, [block, blocks]);
        for sum in sums.as_flattened_mut() {
            *sum = sum.add(bias);
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

/// Exact but for rounding.
struct InNumbers<V>(PhantomData<V>);

impl<V: Vector> Lines for InNumbers<V> {
    type Map = Block;
    type Spread = Block;
    type Product = Block;
    type Input = V;
    type Sum = V;

    #[inline(always)]
    fn load(map: &Block) -> V {
        V::load(map)
    }

    #[inline(always)]
    fn spread([d0, d1, d2, d3, d4, d5]: [V; PATCH]) -> [V; PATCH] {
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

    #[inline(always)]
    fn store(input: V, spread: &mut Block) {
        input.store(spread);
    }

    #[inline(always)]
    fn load_product(product: &Block) -> V {
        V::load(product)
    }

    #[inline(always)]
    fn gather([m0, m1, m2, m3, m4, m5]: [V; PATCH]) -> [V; TILE] {
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
}
