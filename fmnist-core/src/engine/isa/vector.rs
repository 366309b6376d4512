//! Sixteen `f32` at a time, on whatever registers the processor has.

/// Sixteen channels of one position: the unit that every kernel loads, computes and stores.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(in crate::engine) struct Block(pub(in crate::engine) [f32; Block::LANES]);

impl Block {
    /// Numbers in a block.
    pub(in crate::engine) const LANES: usize = 16;
    /// Sixteen zeros.
    pub(in crate::engine) const ZERO: Self = Self([0.0; Self::LANES]);

    /// Block `block` of the numbers that `number` gives for `0..count`; zeros behind them.
    pub(in crate::engine) fn from_fn(
        block: usize,
        count: usize,
        number: impl Fn(usize) -> f32,
    ) -> Self {
        let first = block * Self::LANES;
        Self(std::array::from_fn(
            |lane| if first + lane < count { number(first + lane) } else { 0.0 },
        ))
    }

    /// All blocks of such numbers.
    pub(in crate::engine) fn pack(count: usize, number: impl Fn(usize) -> f32) -> Box<[Self]> {
        (0..count.div_ceil(Self::LANES)).map(|block| Self::from_fn(block, count, &number)).collect()
    }
}

/// The same numbers, one by one.
pub(in crate::engine) fn flat(blocks: &[Block]) -> &[f32] {
    // SAFETY: a block is sixteen f32 without padding (64 bytes, `repr(C)`), and f32 is less aligned.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * Block::LANES) }
}

/// A block in registers.
///
/// Values of the types for AVX-512 and AVX2 exist only below the functions of
/// [`dispatch`](super::dispatch) that checked for these extensions; this is what makes the
/// instructions in their methods sound.
pub(in crate::engine) trait Vector: Copy {
    /// The same number sixteen times.
    fn splat(number: f32) -> Self;
    /// From memory.
    fn load(block: &Block) -> Self;
    /// To memory.
    fn store(self, block: &mut Block);
    /// `self × other`
    fn mul(self, other: Self) -> Self;
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self × factor + addend`, rounded once where the processor can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger of both; of a NaN and a number, either.
    fn max(self, other: Self) -> Self;
    /// Its lanes where `condition`'s are above zero, zeros elsewhere.
    fn where_positive(self, condition: Self) -> Self;
    /// To bytes: limited to 0–255, and rounded to the nearest, halves to the even one.
    fn store_bytes(self, bytes: &mut [u8; Block::LANES]);
    /// Writes the positions of the lanes that are not zero, plus `first`, to the front of
    /// `positions` and answers how many; what lies behind them is overwritten, too.
    fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize;
}

/// A block for any processor; the compiler makes of it what the target has.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Portable([f32; Block::LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        let mut result = self;
        for (left, right) in result.0.iter_mut().zip(other.0) {
            *left = operation(*left, right);
        }
        result
    }
}

impl Vector for Portable {
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

#[cfg(target_arch = "x86_64")]
pub(in crate::engine) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, Vector};

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(in crate::engine) struct Avx512(pub(in crate::engine::isa) __m512);

    // Safety of every block here: a value of this type exists only where AVX-512 F, BW, DQ, VL and
    // VNNI were found; loads and stores stay within a block, which is aligned to 64 bytes.
    impl Vector for Avx512 {
        #[inline(always)]
        fn splat(number: f32) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_set1_ps(number) })
        }

        #[inline(always)]
        fn load(block: &Block) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_load_ps(block.0.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, block: &mut Block) {
            // SAFETY: as said above.
            unsafe { _mm512_store_ps(block.0.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn where_positive(self, condition: Self) -> Self {
            // SAFETY: as said above.
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition.0, _mm512_setzero_ps());
                Self(_mm512_maskz_mov_ps(mask, self.0))
            }
        }

        #[inline(always)]
        fn store_bytes(self, bytes: &mut [u8; Block::LANES]) {
            // SAFETY: as said above.
            unsafe {
                // What is far below zero converts to the least integer.
                let whole = _mm512_cvtps_epi32(_mm512_min_ps(self.0, _mm512_set1_ps(255.0)));
                let whole = _mm512_max_epi32(whole, _mm512_setzero_si512());
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(whole));
            }
        }

        #[inline(always)]
        fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize {
            // Compressed in a register: the form that compresses to memory is slow on Zen 4.
            // SAFETY: as said above.
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_ps());
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let all = _mm512_add_epi32(lanes, _mm512_set1_epi32(first.into()));
                let found = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(mask, all));
                _mm256_storeu_si256(positions.as_mut_ptr().cast(), found);
                mask.count_ones() as usize
            }
        }
    }

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(in crate::engine) struct Avx2(
        pub(in crate::engine::isa) __m256,
        pub(in crate::engine::isa) __m256,
    );

    // Safety of every block here: a value of this type exists only where AVX2 and FMA were found;
    // loads and stores stay within a block, which is aligned to 64 bytes.
    impl Vector for Avx2 {
        #[inline(always)]
        fn splat(number: f32) -> Self {
            // SAFETY: as said above.
            let half = unsafe { _mm256_set1_ps(number) };
            Self(half, half)
        }

        #[inline(always)]
        fn load(block: &Block) -> Self {
            let first = block.0.as_ptr();
            // SAFETY: as said above.
            unsafe { Self(_mm256_load_ps(first), _mm256_load_ps(first.add(8))) }
        }

        #[inline(always)]
        fn store(self, block: &mut Block) {
            let first = block.0.as_mut_ptr();
            // SAFETY: as said above.
            unsafe {
                _mm256_store_ps(first, self.0);
                _mm256_store_ps(first.add(8), self.1);
            }
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as said above.
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, factor.0, addend.0),
                    _mm256_fmadd_ps(self.1, factor.1, addend.1),
                )
            }
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn where_positive(self, condition: Self) -> Self {
            // SAFETY: as said above.
            unsafe {
                let zero = _mm256_setzero_ps();
                let low = _mm256_cmp_ps::<_CMP_GT_OQ>(condition.0, zero);
                let high = _mm256_cmp_ps::<_CMP_GT_OQ>(condition.1, zero);
                Self(_mm256_and_ps(self.0, low), _mm256_and_ps(self.1, high))
            }
        }

        #[inline(always)]
        fn store_bytes(self, bytes: &mut [u8; Block::LANES]) {
            // SAFETY: as said above.
            unsafe {
                // Packing limits, too; it takes the halves of its arguments in turns.
                let most = _mm256_set1_ps(255.0);
                let low = _mm256_cvtps_epi32(_mm256_min_ps(self.0, most));
                let high = _mm256_cvtps_epi32(_mm256_min_ps(self.1, most));
                let words =
                    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                let (low, high) =
                    (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
            }
        }

        #[inline(always)]
        fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize {
            // SAFETY: as said above.
            let mut bits = unsafe {
                let zero = _mm256_setzero_ps();
                let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, zero));
                let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(self.1, zero));
                (low | high << 8).cast_unsigned()
            };
            let count = bits.count_ones() as usize;
            for position in &mut positions[..count] {
                *position = first + bits.trailing_zeros() as u16;
                bits &= bits - 1;
            }
            count
        }
    }
}
