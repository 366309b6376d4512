//! 512-bit registers.

use std::arch::x86_64::*;

use super::{Block, Packed, Pairs, Row, Sums, Vector, Weights, Work, avx2};

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && avx2::is_available()
}

pub(super) fn run(work: impl Work) {
    /// Eight rows by three blocks make 24 sums in 32 registers; maps have seven columns, or twice that.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    fn compiled(work: impl Work) {
        work.run::<Integers, 8, 7>();
    }
    assert!(is_available(), "this processor has no AVX-512 VNNI");
    // SAFETY: the processor has what the function is compiled for, as was just asserted.
    unsafe { compiled(work) }
}

/// One register.
#[derive(Clone, Copy)]
struct Floats(__m512);

impl Vector for Floats {
    #[inline(always)]
    fn splat(number: f32) -> Self {
        Self(intrinsics!(_mm512_set1_ps(number)))
    }

    #[inline(always)]
    fn load(block: &Block) -> Self {
        Self(intrinsics!(_mm512_load_ps(block.0.as_ptr())))
    }

    #[inline(always)]
    fn store(self, block: &mut Block) {
        intrinsics!(_mm512_store_ps(block.0.as_mut_ptr(), self.0))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_mul_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_add_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_sub_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(intrinsics!(_mm512_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn where_positive(self, condition: Self) -> Self {
        intrinsics!({
            let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition.0, _mm512_setzero_ps());
            Self(_mm512_maskz_mov_ps(mask, self.0))
        })
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8; Block::LANES]) {
        intrinsics!({
            // The maximum of a NaN is the other; what is too large for an integer is the largest.
            let whole = _mm512_cvtps_epu32(_mm512_max_ps(self.0, _mm512_setzero_ps()));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(whole));
        })
    }

    #[inline(always)]
    fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize {
        // Compressed in a register: the form that compresses to memory is slow on Zen 4.
        intrinsics!({
            let mask = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_ps());
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let all = _mm512_add_epi32(lanes, _mm512_set1_epi32(first.into()));
            let found = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(mask, all));
            _mm256_storeu_si256(positions.as_mut_ptr().cast(), found);
            mask.count_ones() as usize
        })
    }
}

/// One register.
#[derive(Clone, Copy)]
struct Integers(__m512i);

impl Sums for Integers {
    type Vector = Floats;
    type Shorts = avx2::SmallIntegers;
    type Weights = Weights;
    #[cfg(target_os = "linux")]
    type Products = super::amx::Tiles;
    #[cfg(not(target_os = "linux"))]
    type Products = super::portable::Rows;

    #[inline(always)]
    fn zero() -> Self {
        Self(intrinsics!(_mm512_setzero_si512()))
    }

    #[inline(always)]
    fn load(sums: &Row) -> Self {
        Self(intrinsics!(_mm512_load_si512(sums.0.as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, sums: &mut Row) {
        intrinsics!(_mm512_store_si512(sums.0.as_mut_ptr().cast(), self.0))
    }

    #[inline(always)]
    fn add_products(self, inputs: [u8; 4], weights: &Weights) -> Self {
        intrinsics!({
            let weights = _mm512_load_si512(weights.0.as_ptr().cast());
            let inputs = _mm512_set1_epi32(i32::from_le_bytes(inputs));
            Self(_mm512_dpbusd_epi32(self.0, inputs, weights))
        })
    }

    #[inline(always)]
    fn weights(packed: &Packed) -> &[Weights] {
        &packed.bytes
    }

    #[inline(always)]
    fn add_pair(self, inputs: [i16; 2], weights: &Pairs) -> Self {
        intrinsics!({
            let weights = _mm512_load_si512(weights.0.as_ptr().cast());
            let [low, high] = inputs.map(i16::cast_unsigned);
            let inputs = _mm512_set1_epi32((u32::from(low) | u32::from(high) << 16).cast_signed());
            Self(_mm512_dpwssd_epi32(self.0, inputs, weights))
        })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_add_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_sub_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        Self(intrinsics!(_mm512_mullo_epi32(self.0, _mm512_set1_epi32(factor))))
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Self(intrinsics!(_mm512_sll_epi32(self.0, _mm_cvtsi32_si128(bits.cast_signed()))))
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(intrinsics!(_mm512_sra_epi32(self.0, _mm_cvtsi32_si128(bits.cast_signed()))))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsics!(_mm512_max_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn numbers(self) -> Floats {
        Floats(intrinsics!(_mm512_cvtepi32_ps(self.0)))
    }
}
