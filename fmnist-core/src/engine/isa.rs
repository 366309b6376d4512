//! For which processor, and what it computes with: registers, and work that is compiled for them.

mod sums;
mod vector;

use std::{env, fmt, str::FromStr};

pub(super) use sums::{Sums, Weights};
pub(super) use vector::{Block, Vector, flat};

/// Which instructions the fast engine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// Any processor.
    Portable,
    /// x86-64 with AVX2 and FMA (Intel since 2013, AMD since 2015).
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI (Intel since 2019, AMD since 2022).
    Avx512,
}

impl Kernel {
    /// Every kernel of this version, the best first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The best that this processor has.
    pub fn best() -> Self {
        let mut available = Self::ALL.into_iter().filter(|kernel| kernel.is_available());
        available.next().expect("the portable kernel is always available")
    }

    /// The kernel that the variable `FMNIST_KERNEL` names, or else the best.
    ///
    /// # Errors
    /// [`UnknownKernel`] if it names none, or one that this processor does not have.
    pub fn from_env() -> Result<Self, UnknownKernel> {
        match env::var_os("FMNIST_KERNEL").filter(|name| !name.is_empty()) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::best()),
        }
    }

    /// The name in `FMNIST_KERNEL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && Self::Avx2.is_available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// `FMNIST_KERNEL` names a kernel that does not exist, or not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel is called {name:?} on this processor; there are {available}")]
#[non_exhaustive]
pub struct UnknownKernel {
    /// The name as given.
    pub name: String,
    /// The names that would have been right.
    pub available: String,
}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let available = Self::ALL.into_iter().filter(|kernel| kernel.is_available());
        available.clone().find(|kernel| kernel.name() == name).ok_or_else(|| UnknownKernel {
            name: name.to_owned(),
            available: available.map(Self::name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work that is written once and compiled for each kernel.
pub(super) trait Work {
    /// Does it with sums in `S` and blocks in its numbers, `ROWS` rows of a matrix product, or
    /// `POSITIONS` of a layer over bytes, at a time.
    ///
    /// To be `#[inline(always)]`, as everything below it: only so is it compiled for the kernel.
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self);
}

/// Does the work on a kernel.
///
/// # Panics
/// If this processor does not have the kernel.
pub(super) fn dispatch(kernel: Kernel, work: impl Work) {
    assert!(kernel.is_available(), "a plan is compiled for a kernel of its processor");
    match kernel {
        // SAFETY: the processor has what the function is compiled for, as was just asserted.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => unsafe { avx512(work) },
        // SAFETY: likewise.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => unsafe { avx2(work) },
        _ => work.run::<sums::PortableSums, 2, 2>(),
    }
}

/// Eight rows by three blocks make 24 sums in 32 registers; maps have seven columns, or twice that.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn avx512(work: impl Work) {
    work.run::<sums::Avx512Sums, 8, 7>();
}

/// Two rows by three blocks make 12 sums in 16 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(work: impl Work) {
    work.run::<sums::Avx2Sums, 2, 2>();
}
