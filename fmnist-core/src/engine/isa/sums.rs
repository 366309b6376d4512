//! Sixteen sums of products of bytes at a time.

use super::vector::{Block, Portable, Vector};

/// Four inputs' weights for sixteen sums: `[16, 4]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(in crate::engine) struct Weights(pub(in crate::engine) [[i8; 4]; Block::LANES]);

/// Sixteen `i32` in registers; what is said of [`Vector`] holds here, too.
pub(in crate::engine) trait Sums: Copy {
    /// The same sums as numbers.
    type Numbers: Vector;
    /// Sixteen zeros.
    fn zero() -> Self;
    /// Adds the products of four inputs with their weights, exactly.
    fn add_products(self, inputs: [u8; 4], weights: &Weights) -> Self;
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// The larger of both.
    fn max(self, other: Self) -> Self;
    /// The nearest `f32`.
    fn numbers(self) -> Self::Numbers;
}

/// Sums on any processor.
#[derive(Clone, Copy)]
pub(in crate::engine) struct PortableSums([i32; Block::LANES]);

impl PortableSums {
    #[inline(always)]
    fn zip(mut self, other: Self, operation: impl Fn(i32, i32) -> i32) -> Self {
        for (left, right) in self.0.iter_mut().zip(other.0) {
            *left = operation(*left, right);
        }
        self
    }
}

impl Sums for PortableSums {
    type Numbers = Portable;

    #[inline(always)]
    fn zero() -> Self {
        Self([0; Block::LANES])
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
    fn numbers(self) -> Portable {
        let mut numbers = Block::ZERO;
        for (number, sum) in numbers.0.iter_mut().zip(self.0) {
            *number = sum as f32;
        }
        Portable::load(&numbers)
    }
}

#[cfg(target_arch = "x86_64")]
pub(in crate::engine) use x86::{Avx2Sums, Avx512Sums};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{
        super::vector::{Avx2, Avx512},
        Sums, Weights,
    };

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(in crate::engine) struct Avx512Sums(__m512i);

    // Safety of every block here: a value of this type exists only where AVX-512 F, BW, DQ, VL and
    // VNNI were found; loads stay within the weights, which are aligned to 64 bytes.
    impl Sums for Avx512Sums {
        type Numbers = Avx512;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_setzero_si512() })
        }

        #[inline(always)]
        fn add_products(self, inputs: [u8; 4], weights: &Weights) -> Self {
            // SAFETY: as said above.
            unsafe {
                let weights = _mm512_load_si512(weights.0.as_ptr().cast());
                let inputs = _mm512_set1_epi32(i32::from_le_bytes(inputs));
                Self(_mm512_dpbusd_epi32(self.0, inputs, weights))
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_add_epi32(self.0, other.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as said above.
            Self(unsafe { _mm512_max_epi32(self.0, other.0) })
        }

        #[inline(always)]
        fn numbers(self) -> Avx512 {
            // SAFETY: as said above.
            Avx512(unsafe { _mm512_cvtepi32_ps(self.0) })
        }
    }

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(in crate::engine) struct Avx2Sums(__m256i, __m256i);

    // Safety of every block here: a value of this type exists only where AVX2 was found; loads stay
    // within the weights, which are aligned to 64 bytes.
    impl Sums for Avx2Sums {
        type Numbers = Avx2;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: as said above.
            let half = unsafe { _mm256_setzero_si256() };
            Self(half, half)
        }

        // Even and odd inputs apart, as 16-bit numbers: the instruction that takes bytes saturates.
        #[inline(always)]
        fn add_products(self, inputs: [u8; 4], weights: &Weights) -> Self {
            // SAFETY: as said above.
            unsafe {
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
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_add_epi32(self.0, other.0), _mm256_add_epi32(self.1, other.1)) }
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as said above.
            unsafe { Self(_mm256_max_epi32(self.0, other.0), _mm256_max_epi32(self.1, other.1)) }
        }

        #[inline(always)]
        fn numbers(self) -> Avx2 {
            // SAFETY: as said above.
            unsafe { Avx2(_mm256_cvtepi32_ps(self.0), _mm256_cvtepi32_ps(self.1)) }
        }
    }
}
