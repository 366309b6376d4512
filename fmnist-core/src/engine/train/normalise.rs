//! Batch normalisation of summed branches, ReLU and pooling, and their gradients, for training.

use crate::engine::isa::{Block, Sums, Vector, Work};

/// One branch's map of one image, with what its normalisation makes of it.
#[derive(Clone, Copy)]
pub(super) struct Normalised<'a> {
    /// `[side, side, blocks]`
    pub(super) map: &'a [Block],
    /// What numbers are multiplied by, `[blocks]`.
    pub(super) scale: &'a [Block],
    /// Mean of the batch, `[blocks]`.
    pub(super) mean: &'a [Block],
}

/// Rows, columns and blocks of a map, and whether its 2×2 maxima are what comes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) side: usize,
    pub(super) blocks: usize,
    pub(super) pooled: bool,
}

impl Shape {
    /// Rows, and columns, of what comes out; an odd map's last ones are left out of a pool.
    pub(super) const fn output_side(&self) -> usize {
        if self.pooled { self.side / 2 } else { self.side }
    }

    /// Blocks of a position in memory where there is a frame around.
    const fn framed(&self, side: usize, row: usize, column: usize) -> usize {
        ((row + 1) * (side + 2) + column + 1) * self.blocks
    }

    /// The index of the first block of a position of the map.
    const fn index(&self, row: usize, column: usize) -> usize {
        (row * self.side + column) * self.blocks
    }
}

/// Adds one image's numbers, and their squares, to `[2, blocks]`.
pub(super) struct Moments<'a> {
    /// `[side, side, blocks]`
    pub(super) map: &'a [Block],
    pub(super) moments: &'a mut [Block],
}

impl Work for Moments<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        let blocks = self.moments.len() / 2;
        let (sums, squares) = self.moments.split_at_mut(blocks);
        for (block, (sum, square)) in sums.iter_mut().zip(squares).enumerate() {
            let (mut total, mut squared) = (S::Vector::load(sum), S::Vector::load(square));
            for numbers in self.map.chunks_exact(blocks) {
                let numbers = S::Vector::load(&numbers[block]);
                total = total.add(numbers);
                squared = numbers.mul_add(numbers, squared);
            }
            total.store(sum);
            squared.store(square);
        }
    }
}

/// What comes out of one image: the normalised branches' sum, ReLU, and the maximum of a pool.
pub(super) struct Activate<'a> {
    pub(super) shape: Shape,
    pub(super) branches: &'a [Normalised<'a>],
    /// What the branches' normalisations add, together: `[blocks]`.
    pub(super) shift: &'a [Block],
    /// Framed: `[output side + 2, output side + 2, blocks]`.
    pub(super) output: &'a mut [Block],
}

impl Work for Activate<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        if self.shape.pooled {
            self.windows::<S::Vector, 4>();
        } else {
            self.windows::<S::Vector, 1>();
        }
    }
}

impl Activate<'_> {
    #[inline(always)]
    fn windows<V: Vector, const COUNT: usize>(self) {
        let Self { shape, branches, shift, output } = self;
        let side = shape.output_side();
        for row in 0..side {
            for column in 0..side {
                let first = shape.framed(side, row, column);
                let window = window::<COUNT>(shape, row, column);
                for (block, output) in output[first..][..shape.blocks].iter_mut().enumerate() {
                    let mut largest = V::splat(0.0);
                    for index in window {
                        largest = largest.max(activation(branches, shift, index + block, block));
                    }
                    largest.store(output);
                }
            }
        }
    }
}

/// The indices of the positions that the position of the output at `row` and `column` sees.
#[inline(always)]
fn window<const COUNT: usize>(shape: Shape, row: usize, column: usize) -> [usize; COUNT] {
    let stride = if COUNT == 4 { 2 } else { 1 };
    let mut indices = [shape.index(row * stride, column * stride); COUNT];
    for (i, index) in indices.iter_mut().enumerate() {
        *index += shape.index(i / 2, i % 2);
    }
    indices
}

/// The normalised branches' sum, before ReLU.
#[inline(always)]
fn activation<V: Vector>(
    branches: &[Normalised<'_>],
    shift: &[Block],
    index: usize,
    block: usize,
) -> V {
    let mut sum = V::load(&shift[block]);
    for branch in branches {
        sum = V::load(&branch.map[index]).mul_add(V::load(&branch.scale[block]), sum);
    }
    sum
}

/// The way back through pool and ReLU of one image, and what normalisations have to know of it.
pub(super) struct Route<'a> {
    pub(super) shape: Shape,
    pub(super) branches: &'a [Normalised<'a>],
    /// `[blocks]`
    pub(super) shift: &'a [Block],
    /// By what came out, `[output side, output side, blocks]`.
    pub(super) outer: &'a [Block],
    /// By the normalised sum, `[side, side, blocks]`; zeros where a pool leaves positions out.
    pub(super) inner: &'a mut [Block],
    /// Adds the gradients, and the gradients × (number - mean) of each branch:
    /// `[1 + branches, blocks]`.
    pub(super) sums: &'a mut [Block],
}

impl Work for Route<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(mut self) {
        if self.shape.pooled {
            self.windows::<S::Vector, 4>();
        } else {
            self.windows::<S::Vector, 1>();
        }
        self.sum::<S::Vector>();
    }
}

impl Route<'_> {
    #[inline(always)]
    fn windows<V: Vector, const COUNT: usize>(&mut self) {
        let Self { shape, branches, shift, outer, inner, .. } = self;
        let (shape, branches) = (*shape, *branches);
        let side = shape.output_side();
        for row in 0..side {
            for column in 0..side {
                let first = (row * side + column) * shape.blocks;
                let window = window::<COUNT>(shape, row, column);
                for (block, outer) in outer[first..][..shape.blocks].iter().enumerate() {
                    let mut numbers = [V::splat(0.0); COUNT];
                    let mut largest = V::splat(0.0);
                    for (number, index) in numbers.iter_mut().zip(window) {
                        *number = activation(branches, shift, index + block, block);
                        largest = largest.max(*number);
                    }
                    // The first of the largest gets it all, as in Burn.
                    let mut left = V::load(outer).where_positive(largest);
                    for (number, index) in numbers.into_iter().zip(window) {
                        let passed_on = left.where_positive(largest.sub(number));
                        left.sub(passed_on).store(&mut inner[index + block]);
                        left = passed_on;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn sum<V: Vector>(self) {
        let Self { shape: Shape { blocks, .. }, branches, inner, sums, .. } = self;
        for block in 0..blocks {
            let mut sum = V::load(&sums[block]);
            for gradient in inner.chunks_exact(blocks) {
                sum = sum.add(V::load(&gradient[block]));
            }
            sum.store(&mut sums[block]);
            for (branch, sums) in branches.iter().zip(sums[blocks..].chunks_exact_mut(blocks)) {
                let mean = V::load(&branch.mean[block]);
                let mut sum = V::load(&sums[block]);
                let numbers = branch.map.chunks_exact(blocks);
                for (gradient, number) in inner.chunks_exact(blocks).zip(numbers) {
                    let difference = V::load(&number[block]).sub(mean);
                    sum = V::load(&gradient[block]).mul_add(difference, sum);
                }
                sum.store(&mut sums[block]);
            }
        }
    }
}

/// The way back through one branch's normalisation, of one image:
/// `gradient × factors[0] + number × factors[1] + factors[2]`.
pub(super) struct Unscale<'a> {
    pub(super) shape: Shape,
    /// By the normalised sum, `[side, side, blocks]`.
    pub(super) gradient: &'a [Block],
    /// The branch's numbers, `[side, side, blocks]`.
    pub(super) map: &'a [Block],
    /// Each `[blocks]`.
    pub(super) factors: [&'a [Block]; 3],
    /// Framed: `[side + 2, side + 2, blocks]`.
    pub(super) output: &'a mut [Block],
}

impl Work for Unscale<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        let Self { shape, gradient, map, factors: [gradients, numbers, constants], output } = self;
        for row in 0..shape.side {
            for column in 0..shape.side {
                let index = shape.index(row, column);
                let first = shape.framed(shape.side, row, column);
                for (block, output) in output[first..][..shape.blocks].iter_mut().enumerate() {
                    let number = S::Vector::load(&map[index + block]);
                    let constant = S::Vector::load(&constants[block]);
                    let sum = number.mul_add(S::Vector::load(&numbers[block]), constant);
                    let gradient = S::Vector::load(&gradient[index + block]);
                    gradient.mul_add(S::Vector::load(&gradients[block]), sum).store(output);
                }
            }
        }
    }
}
