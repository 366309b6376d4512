//! Arrays; the compiler makes of them what the target has.

use super::{
    Block, Bytes, Factors, Packed, Pairs, Products, Row, Shorts, Square, Sums, Vector, WideWeights,
    Words, Work, groups,
};

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
        // From here on an f32 has no room for a fraction, and rounds it away to the nearest, as everywhere.
        // Rust's own rounding is a call into the C library where no instruction does it.
        const WHOLE: f32 = 8_388_608.0;
        for (byte, number) in bytes.iter_mut().zip(self.0) {
            let positive = if number > 0.0 { number } else { 0.0 };
            let limited = if positive < 255.0 { positive } else { 255.0 };
            *byte = (limited + WHOLE).to_bits() as u8;
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
    type Shorts = Words;
    type Weights = WideWeights;

    #[inline(always)]
    fn zero() -> Self {
        Self([0; Block::LANES])
    }

    #[inline(always)]
    fn load(sums: &Row) -> Self {
        Self(sums.0)
    }

    #[inline(always)]
    fn store(self, sums: &mut Row) {
        sums.0 = self.0;
    }

    #[inline(always)]
    fn add_products(self, inputs: [u8; 4], weights: &WideWeights) -> Self {
        let [a, b, c, d] = inputs.map(i16::from);
        self.add_pair([a, c], &weights.0[0]).add_pair([b, d], &weights.0[1])
    }

    #[inline(always)]
    fn weights(packed: &Packed) -> &[WideWeights] {
        &packed.words
    }

    #[inline(always)]
    fn add_pair(mut self, inputs: [i16; 2], weights: &Pairs) -> Self {
        let (weights, _) = weights.0.as_chunks::<{ Block::LANES }>();
        for (input, weights) in inputs.into_iter().zip(weights) {
            let weights = weights.map(i32::from);
            self =
                self.zip(Self(weights), |sum, weight| sum.wrapping_add(i32::from(input) * weight));
        }
        self
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, i32::wrapping_add)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, i32::wrapping_sub)
    }

    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        Self(self.0.map(|sum| sum.wrapping_mul(factor)))
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Self(self.0.map(|sum| sum << bits))
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(self.0.map(|sum| sum >> bits))
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

impl Words {
    #[inline(always)]
    fn zip(mut self, other: Self, operation: impl Fn(i16, i16) -> i16) -> Self {
        for (left, right) in self.0.iter_mut().zip(other.0) {
            *left = operation(*left, right);
        }
        self
    }
}

impl Shorts for Words {
    #[inline(always)]
    fn widen(bytes: &Bytes) -> Self {
        Self(bytes.0.map(i16::from))
    }

    #[inline(always)]
    fn store(self, words: &mut Words) {
        *words = self;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_add)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_sub)
    }

    #[inline(always)]
    fn quadruple(self) -> Self {
        Self(self.0.map(|word| word << 2))
    }
}

/// One sum after the other: what tiles compute, for tests.
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
                for (column, square) in squares.iter_mut().enumerate() {
                    square.0[row] = Row::ZERO;
                    for (inputs, weights) in runs.iter().flat_map(piece).zip(weights) {
                        for (sum, weights) in square.0[row].0.iter_mut().zip(&weights[column].0) {
                            for (input, weight) in inputs.iter().zip(weights) {
                                *sum += i32::from(*input) * i32::from(*weight);
                            }
                        }
                    }
                }
            }
        }
    }
}
