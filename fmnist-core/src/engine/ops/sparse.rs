//! A dense layer behind a ReLU, which leaves about half of its inputs at zero: their rows of
//! weights are neither read nor multiplied, and the sums stay what they were.

use crate::{
    engine::isa::{Block, Vector, flat},
    model::notebook,
};

/// Inputs whose weights stay in the first cache while the images of a chunk pass by.
const STRIP: usize = 64;

/// A dense layer, `[depth, blocks]`.
#[derive(Clone, Debug)]
pub(crate) struct SparseDense {
    /// Row-major.
    pub(crate) weights: Box<[Block]>,
    /// `[blocks]`
    pub(crate) bias: Box<[Block]>,
}

impl SparseDense {
    /// Blocks of outputs; their sums stay in registers.
    pub(crate) const BLOCKS: usize = notebook::HIDDEN.div_ceil(Block::LANES);

    /// Multiply-adds of an image, half of whose inputs are zero.
    pub(crate) fn multiply_adds(&self) -> usize {
        self.weights.len() * Block::LANES / 2
    }

    /// Inputs.
    pub(crate) fn depth(&self) -> usize {
        self.weights.len() / self.bias.len()
    }
}

/// Where the inputs of an image are not zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nonzero {
    /// Strictly increasing, then room for a block more.
    positions: Box<[u16]>,
    /// The end of each strip's positions.
    ends: Box<[usize]>,
}

impl Nonzero {
    /// Room for the positions of `depth` inputs, which `u16` must hold.
    pub(crate) fn with_depth(depth: usize) -> Self {
        Self {
            positions: vec![0; depth + Block::LANES].into(),
            ends: vec![0; depth.div_ceil(STRIP)].into(),
        }
    }

    /// Bytes of such room.
    pub(crate) const fn bytes(depth: usize) -> usize {
        (depth + Block::LANES) * size_of::<u16>() + depth.div_ceil(STRIP) * size_of::<usize>()
    }

    /// Looks through one image's inputs.
    #[inline(always)]
    fn find<V: Vector>(&mut self, input: &[Block]) {
        let (mut count, mut first) = (0, 0);
        for (strip, end) in input.chunks(STRIP / Block::LANES).zip(&mut self.ends) {
            for block in strip {
                let room = self.positions[count..].first_chunk_mut();
                count += V::load(block).nonzero(first, room.expect("room for a block more"));
                first += Block::LANES as u16;
            }
            *end = count;
        }
    }

    /// The positions within a strip.
    fn strip(&self, strip: usize) -> &[u16] {
        let start = if strip == 0 { 0 } else { self.ends[strip - 1] };
        &self.positions[start..self.ends[strip]]
    }
}

/// `output = relu(bias + input · weights)` for each image of a chunk.
///
/// # Shapes
/// - `input`: `[images, depth]`, finite
/// - `nonzero`: one for each image; its content is lost
/// - `output`: `[images, WIDTH]`
#[inline(always)]
pub(crate) fn sparse_dense<V: Vector, const WIDTH: usize>(
    layer: &SparseDense,
    input: &[Block],
    nonzero: &mut [Nonzero],
    output: &mut [Block],
) {
    let depth = layer.depth();
    let (weights, _) = layer.weights.as_chunks::<WIDTH>();
    let (sums, _) = output.as_chunks_mut::<WIDTH>();
    let images = input.chunks_exact(depth / Block::LANES);
    for ((nonzero, image), sums) in nonzero.iter_mut().zip(images.clone()).zip(&mut *sums) {
        nonzero.find::<V>(image);
        sums.copy_from_slice(&layer.bias);
    }
    for (strip, weights) in weights.chunks(STRIP).enumerate() {
        for ((nonzero, image), sums) in nonzero.iter().zip(images.clone()).zip(&mut *sums) {
            let image = &flat(image)[strip * STRIP..][..weights.len()];
            add_strip::<V, WIDTH>(nonzero.strip(strip), image, weights, sums);
        }
    }
    for sum in sums.as_flattened_mut() {
        V::load(sum).max(V::splat(0.0)).store(sum);
    }
}

/// Adds the products of one strip to one image's sums.
#[inline(always)]
fn add_strip<V: Vector, const WIDTH: usize>(
    nonzero: &[u16],
    input: &[f32],
    weights: &[[Block; WIDTH]],
    sums: &mut [Block; WIDTH],
) {
    let mut registers = [V::splat(0.0); WIDTH];
    for (register, sum) in registers.iter_mut().zip(&*sums) {
        *register = V::load(sum);
    }
    for position in nonzero {
        let position = usize::from(*position) % STRIP;
        let factor = V::splat(input[position]);
        for (register, weight) in registers.iter_mut().zip(&weights[position]) {
            *register = factor.mul_add(V::load(weight), *register);
        }
    }
    for (register, sum) in registers.iter().zip(sums) {
        register.store(sum);
    }
}
