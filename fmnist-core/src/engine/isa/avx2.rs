//! Pairs of 256-bit registers.

use std::arch::x86_64::*;

use super::{Block, Sums, Vector, Weights, Work, portable};

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

impl Sums for Integers {
    type Vector = Floats;
    type Products = portable::Rows;

    #[inline(always)]
    fn zero() -> Self {
        let half = intrinsics!(_mm256_setzero_si256());
        Self(half, half)
    }

    #[inline(always)]
    fn load(sums: &[i32; Block::LANES]) -> Self {
        let first = sums.as_ptr().cast::<__m256i>();
        intrinsics!(Self(_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1))))
    }

    // Even and odd inputs apart, as 16-bit numbers: the instruction that takes bytes saturates.
    #[inline(always)]
    fn add_products(self, inputs: [u8; 4], weights: &Weights) -> Self {
        intrinsics!({
            let inputs = _mm256_set1_epi32(i32::from_le_bytes(inputs));
            let even = _mm256_and_si256(inputs, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(inputs);
            let add = |sums, weights| {
                let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
                let odd_weights = _mm256_srai_epi16::<8>(weights);
                let even = _mm256_madd_epi16(even, even_weights);
                let odd = _mm256_madd_epi16(odd, odd_weights);
                _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
            };
            let first = weights.0.as_ptr().cast::<__m256i>();
            Self(
                add(self.0, _mm256_load_si256(first)),
                add(self.1, _mm256_load_si256(first.add(1))),
            )
        })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        intrinsics!(Self(_mm256_add_epi32(self.0, other.0), _mm256_add_epi32(self.1, other.1)))
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
