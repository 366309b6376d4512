//! Arrays; the compiler makes of them what the target has.

use super::{Block, Factors, Products, Square, Sums, Vector, Weights, Work, groups};

pub(super) const fn is_available() -> bool {
    true
}

pub(super) fn run(work: impl Work) {
    work.run::<Integers, 2, 2>();
}

#[derive(Clone, Copy)]
struct Floats([f32; Block::LANES]);

impl Floats {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        let mut result = self;
        for (left, right) in result.0.iter_mut().zip(other.0) {
            *left = operation(*left, right);
        }
        result
    }
}

impl Vector for Floats {
    #[inline(always)]
    fn splat(number: f32) -> Self {
        Self([number; Block::LANES])
    }

    #[inline(always)]
    fn load(block: &Block) -> Self {
        Self(block.0)
    }

    #[inline(always)]
    fn store(self, block: &mut Block) {
        block.0 = self.0;
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |left, right| left * right)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |left, right| left + right)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |left, right| left - right)
    }

    // Two roundings: `f32::mul_add` is a call into the C library where no instruction does it.
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.zip(factor, |left, right| left * right).add(addend)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |left, right| if left > right { left } else { right })
    }

    #[inline(always)]
    fn where_positive(self, condition: Self) -> Self {
        self.zip(condition, |number, condition| if condition > 0.0 { number } else { 0.0 })
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8; Block::LANES]) {
        for (byte, number) in bytes.iter_mut().zip(self.0) {
            *byte = number.round_ties_even() as u8; // limited by the cast
        }
    }

    #[inline(always)]
    fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize {
        let mut count = 0;
        for (lane, number) in (0..).zip(self.0) {
            // Never out of bounds: at most `lane` of the earlier ones were counted.
            positions[count] = first + lane;
            count += usize::from(number != 0.0);
        }
        count
    }
}

#[derive(Clone, Copy)]
struct Integers([i32; Block::LANES]);

impl Integers {
    #[inline(always)]
    fn zip(mut self, other: Self, operation: impl Fn(i32, i32) -> i32) -> Self {
        for (left, right) in self.0.iter_mut().zip(other.0) {
            *left = operation(*left, right);
        }
        self
    }
}

impl Sums for Integers {
    type Vector = Floats;
    type Products = Rows;

    #[inline(always)]
    fn zero() -> Self {
        Self([0; Block::LANES])
    }

    #[inline(always)]
    fn load(sums: &[i32; Block::LANES]) -> Self {
        Self(*sums)
    }

    #[inline(always)]
    fn add_products(mut self, inputs: [u8; 4], weights: &Weights) -> Self {
        for (sum, weights) in self.0.iter_mut().zip(&weights.0) {
            for (input, weight) in inputs.into_iter().zip(weights) {
                *sum += i32::from(input) * i32::from(*weight);
            }
        }
        self
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |left, right| left + right)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, i32::max)
    }

    #[inline(always)]
    fn numbers(self) -> Floats {
        let mut numbers = Block::ZERO;
        for (number, sum) in numbers.0.iter_mut().zip(self.0) {
            *number = sum as f32;
        }
        Floats::load(&numbers)
    }
}

/// One row after the other: what tiles compute, for tests.
pub(super) struct Rows(usize);

impl Products for Rows {
    fn new(rows: usize, _blocks: usize) -> Self {
        Self(rows)
    }

    fn multiply<const SPANS: usize, const WIDTH: usize>(
        &self,
        factors: Factors<'_, WIDTH>,
        spans: [usize; SPANS],
        sums: &mut [[Square; WIDTH]; SPANS],
    ) {
        let Factors { input, stride, runs, length, weights } = factors;
        for (span, squares) in spans.into_iter().zip(sums) {
            for row in 0..self.0 {
                let piece = |run| groups(&input[span + row * stride + run..][..length]);
                let mut sums = [Integers::zero(); WIDTH];
                for (inputs, weights) in runs.iter().flat_map(piece).zip(weights) {
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = sum.add_products(*inputs, weights);
                    }
                }
                for (square, sum) in squares.iter_mut().zip(sums) {
                    square.0[row] = sum.0;
                }
            }
        }
    }
}
