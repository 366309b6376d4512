//! Pairs of 256-bit registers.

use std::arch::x86_64::*;

use super::{
    Block, Bytes, Packed, Pairs, Row, Shorts, Sums, Vector, WideWeights, Words, Work, portable,
};

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

pub(super) fn run(work: impl Work) {
    /// Two rows by three blocks make 12 sums in 16 registers.
    #[target_feature(enable = "avx2,fma")]
    fn compiled(work: impl Work) {
        work.run::<Integers, 2, 2>();
    }
    assert!(is_available(), "this processor has no AVX2 and FMA");
    // SAFETY: the processor has what the function is compiled for, as was just asserted.
    unsafe { compiled(work) }
}

/// Two registers.
#[derive(Clone, Copy)]
struct Floats(__m256, __m256);

impl Vector for Floats {
    #[inline(always)]
    fn splat(number: f32) -> Self {
        let half = intrinsics!(_mm256_set1_ps(number));
        Self(half, half)
    }

    #[inline(always)]
    fn load(block: &Block) -> Self {
        let first = block.0.as_ptr();
        intrinsics!(Self(_mm256_load_ps(first), _mm256_load_ps(first.add(8))))
    }

    #[inline(always)]
    fn store(self, block: &mut Block) {
        let first = block.0.as_mut_ptr();
        intrinsics!({
            _mm256_store_ps(first, self.0);
            _mm256_store_ps(first.add(8), self.1);
        })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        intrinsics!(Self(
            _mm256_fmadd_ps(self.0, factor.0, addend.0),
            _mm256_fmadd_ps(self.1, factor.1, addend.1),
        ))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn where_positive(self, condition: Self) -> Self {
        intrinsics!({
            let zero = _mm256_setzero_ps();
            let low = _mm256_cmp_ps::<_CMP_GT_OQ>(condition.0, zero);
            let high = _mm256_cmp_ps::<_CMP_GT_OQ>(condition.1, zero);
            Self(_mm256_and_ps(self.0, low), _mm256_and_ps(self.1, high))
        })
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8; Block::LANES]) {
        intrinsics!({
            // Packing limits, too; it takes the halves of its arguments in turns. A NaN, which the minimum
            // keeps as its second, converts to the least integer.
            let most = _mm256_set1_ps(255.0);
            let low = _mm256_cvtps_epi32(_mm256_min_ps(most, self.0));
            let high = _mm256_cvtps_epi32(_mm256_min_ps(most, self.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        })
    }

    #[inline(always)]
    fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize {
        let mut bits = intrinsics!({
            let zero = _mm256_setzero_ps();
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, zero));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(self.1, zero));
            (low | high << 8).cast_unsigned()
        });
        let count = bits.count_ones() as usize;
        for position in &mut positions[..count] {
            *position = first + bits.trailing_zeros() as u16;
            bits &= bits - 1;
        }
        count
    }
}

/// Two registers.
#[derive(Clone, Copy)]
struct Integers(__m256i, __m256i);

impl Integers {
    /// Adds the products of the same two inputs in every lane.
    #[inline(always)]
    fn add_products_of(self, inputs: __m256i, weights: &Pairs) -> Self {
        let first = weights.0.as_ptr().cast::<__m256i>();
        intrinsics!({
            let low = _mm256_madd_epi16(inputs, _mm256_load_si256(first));
            let high = _mm256_madd_epi16(inputs, _mm256_load_si256(first.add(1)));
            Self(_mm256_add_epi32(self.0, low), _mm256_add_epi32(self.1, high))
        })
    }
}

impl Sums for Integers {
    type Vector = Floats;
    type Products = portable::Rows;
    type Shorts = SmallIntegers;
    type Weights = WideWeights;

    #[inline(always)]
    fn zero() -> Self {
        let half = intrinsics!(_mm256_setzero_si256());
        Self(half, half)
    }

    #[inline(always)]
    fn load(sums: &Row) -> Self {
        let first = sums.0.as_ptr().cast::<__m256i>();
        intrinsics!(Self(_mm256_load_si256(first), _mm256_load_si256(first.add(1))))
    }

    #[inline(always)]
    fn store(self, sums: &mut Row) {
        let first = sums.0.as_mut_ptr().cast::<__m256i>();
        intrinsics!({
            _mm256_store_si256(first, self.0);
            _mm256_store_si256(first.add(1), self.1);
        })
    }

    // As 16-bit numbers: the instruction that takes bytes saturates.
    #[inline(always)]
    fn add_products(self, inputs: [u8; 4], weights: &WideWeights) -> Self {
        intrinsics!({
            let inputs = _mm256_set1_epi32(i32::from_le_bytes(inputs));
            let first_and_third = _mm256_and_si256(inputs, _mm256_set1_epi16(0xff));
            let second_and_fourth = _mm256_srli_epi16::<8>(inputs);
            let [one, other] = &weights.0;
            self.add_products_of(first_and_third, one).add_products_of(second_and_fourth, other)
        })
    }

    #[inline(always)]
    fn weights(packed: &Packed) -> &[WideWeights] {
        &packed.words
    }

    #[inline(always)]
    fn add_pair(self, inputs: [i16; 2], weights: &Pairs) -> Self {
        let [low, high] = inputs.map(i16::cast_unsigned);
        let inputs = (u32::from(low) | u32::from(high) << 16).cast_signed();
        self.add_products_of(intrinsics!(_mm256_set1_epi32(inputs)), weights)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_add_epi32(self.0, other.0), _mm256_add_epi32(self.1, other.1)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_sub_epi32(self.0, other.0), _mm256_sub_epi32(self.1, other.1)))
    }

    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        intrinsics!({
            let factor = _mm256_set1_epi32(factor);
            Self(_mm256_mullo_epi32(self.0, factor), _mm256_mullo_epi32(self.1, factor))
        })
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        intrinsics!({
            let bits = _mm_cvtsi32_si128(bits.cast_signed());
            Self(_mm256_sll_epi32(self.0, bits), _mm256_sll_epi32(self.1, bits))
        })
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        intrinsics!({
            let bits = _mm_cvtsi32_si128(bits.cast_signed());
            Self(_mm256_sra_epi32(self.0, bits), _mm256_sra_epi32(self.1, bits))
        })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_max_epi32(self.0, other.0), _mm256_max_epi32(self.1, other.1)))
    }

    #[inline(always)]
    fn numbers(self) -> Floats {
        intrinsics!(Floats(_mm256_cvtepi32_ps(self.0), _mm256_cvtepi32_ps(self.1)))
    }
}

/// One register.
#[derive(Clone, Copy)]
pub(super) struct SmallIntegers(__m256i);

impl Shorts for SmallIntegers {
    #[inline(always)]
    fn widen(bytes: &Bytes) -> Self {
        Self(intrinsics!(_mm256_cvtepu8_epi16(_mm_load_si128(bytes.0.as_ptr().cast()))))
    }

    #[inline(always)]
    fn store(self, words: &mut Words) {
        intrinsics!(_mm256_store_si256(words.0.as_mut_ptr().cast(), self.0))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsics!(_mm256_add_epi16(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsics!(_mm256_sub_epi16(self.0, other.0)))
    }

    #[inline(always)]
    fn quadruple(self) -> Self {
        Self(intrinsics!(_mm256_slli_epi16::<2>(self.0)))
    }
}
