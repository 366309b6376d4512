//! Instruction sets, a file each: what is there called a vector and sums of bytes' products, and work that is
//! compiled for them. All else in the engine is written once, in safe code, over the traits [`Vector`] and
//! [`Sums`]. `pulp` would have served for `f32`, but has neither byte products nor a compressed list of
//! lanes.

use std::{env, fmt, str::FromStr};

/// Calls instructions that this processor has.
macro_rules! intrinsics {
    ($calls:expr) => {
        // SAFETY: an instruction set's types are private to this room, where nothing but `run` names them, and
        // only after it has looked for the instructions; who uses those of another has looked for its, too. Loads
        // and stores stay within what they are of; those that want to be aligned are of types that are.
        unsafe { $calls }
    };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod portable;
#[cfg(test)]
mod tests;

pub(super) use block::{
    Block, Bytes, Factors, Packed, Pairs, Row, Square, Weights, WideWeights, Words, flat, groups,
    pairs,
};

/// Declares the instruction sets, the best first: variant, file, in which file its work is compiled, and for
/// which targets.
macro_rules! instruction_sets {
    ($($(#[$doc:meta])+ $Isa:ident = $file:ident compiled in $code:ident if $target:meta;)+) => {
        /// An instruction set: which instructions the fast engine uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Isa {
            $($(#[$doc])+ $Isa,)+
        }

        impl Isa {
            /// Every instruction set of this version, the best first.
            pub const ALL: [Self; [$(stringify!($Isa)),+].len()] = [$(Self::$Isa),+];

            /// The name in `FMNIST_KERNEL`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Isa => stringify!($file),)+
                }
            }

            /// Whether this processor has it, and the system lends it. To ask of AMX asks Linux for it, once
            /// for the process.
            pub fn is_available(self) -> bool {
                match self {
                    $(#[cfg($target)] Self::$Isa => $code::is_available() && $file::is_available(),)+
                    #[cfg(not(all($($target),+)))]
                    _ => false,
                }
            }

            /// Does the work with these instructions.
            ///
            /// # Panics
            /// If this processor does not have them.
            pub(super) fn run(self, work: impl Work) {
                match self {
                    $(#[cfg($target)] Self::$Isa => $code::run(work),)+
                    #[cfg(not(all($($target),+)))]
                    _ => panic!("{self} is not an instruction set of this processor's"),
                }
            }
        }
    };
}

instruction_sets! {
    /// AVX-512 as below, and AMX with tiles of bytes (Intel's servers since 2023), on Linux.
    Amx = amx compiled in avx512 if all(target_arch = "x86_64", target_os = "linux");
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI (Intel since 2019, AMD since 2022).
    Avx512 = avx512 compiled in avx512 if target_arch = "x86_64";
    /// x86-64 with AVX2 and FMA (Intel since 2013, AMD since 2015).
    Avx2 = avx2 compiled in avx2 if target_arch = "x86_64";
    /// Any processor.
    Portable = portable compiled in portable if all();
}

impl Isa {
    /// The best that this processor has.
    pub fn best() -> Self {
        let mut available = Self::ALL.into_iter().filter(|isa| isa.is_available());
        available.next().expect("any processor has the portable one")
    }

    /// The instruction set that the variable `FMNIST_KERNEL` names, or else the best.
    ///
    /// # Errors
    /// [`UnknownIsa`] if it names none, or one that this processor does not have.
    pub fn from_env() -> Result<Self, UnknownIsa> {
        match env::var_os("FMNIST_KERNEL").filter(|name| !name.is_empty()) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::best()),
        }
    }
}

/// `FMNIST_KERNEL` names an instruction set that does not exist, or not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel is called {name:?} on this processor; there are {available}")]
#[non_exhaustive]
pub struct UnknownIsa {
    /// The name as given.
    pub name: String,
    /// The names that would have been right.
    pub available: String,
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let available = Self::ALL.into_iter().filter(|isa| isa.is_available());
        available.clone().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa {
            name: name.to_owned(),
            available: available.map(Self::name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work that is written once and compiled for each instruction set.
pub(super) trait Work {
    /// Does it with sums in `S` and blocks in its vectors, `ROWS` rows of a matrix product, or
    /// `POSITIONS` of a layer over bytes, at a time.
    ///
    /// To be `#[inline(always)]`, as everything below it: only so is it compiled for the instructions.
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self);
}

/// A block in registers.
pub(super) trait Vector: Copy {
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
    /// To bytes: limited to 0–255, and rounded to the nearest, halves to the even one; a NaN is 0.
    fn store_bytes(self, bytes: &mut [u8; Block::LANES]);
    /// Writes the positions of the lanes that are not zero, plus `first`, to the front of
    /// `positions` and returns how many; what lies behind them is overwritten, too.
    fn nonzero(self, first: u16, positions: &mut [u16; Block::LANES]) -> usize;
}

/// Sixteen `i32` in registers: exact sums of products. What does not fit wraps.
pub(super) trait Sums: Copy {
    /// Sixteen numbers in registers.
    type Vector: Vector;
    /// Sixteen numbers of 16 bits in registers.
    type Shorts: Shorts;
    /// Four inputs' weights.
    type Weights: 'static;
    /// What multiplies whole matrices.
    type Products: Products;
    /// Sixteen zeros.
    fn zero() -> Self;
    /// From memory.
    fn load(sums: &Row) -> Self;
    /// To memory.
    fn store(self, sums: &mut Row);
    /// Adds the products of four inputs with their weights.
    fn add_products(self, inputs: [u8; 4], weights: &Self::Weights) -> Self;
    /// A layer's weights as it takes them.
    fn weights(packed: &Packed) -> &[Self::Weights];
    /// Adds the products of two inputs with their weights.
    fn add_pair(self, inputs: [i16; 2], weights: &Pairs) -> Self;
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self × factor`
    fn mul(self, factor: i32) -> Self;
    /// `self × 2^bits`
    fn shl(self, bits: u32) -> Self;
    /// `self ÷ 2^bits`, rounded down.
    fn shr(self, bits: u32) -> Self;
    /// The larger of both.
    fn max(self, other: Self) -> Self;
    /// The nearest `f32`.
    fn numbers(self) -> Self::Vector;
}

/// Sixteen `i16` in registers. What does not fit wraps.
pub(super) trait Shorts: Copy {
    /// From bytes.
    fn widen(bytes: &Bytes) -> Self;
    /// To memory.
    fn store(self, words: &mut Words);
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self × 4`
    fn quadruple(self) -> Self;
}

/// What multiplies matrices of bytes. A thread has one of these at a time.
pub(super) trait Products {
    /// For matrices of so many rows, up to sixteen, of which up to four blocks are taken in at a time.
    fn new(rows: usize, blocks: usize) -> Self;
    /// The sums of the matrices that begin at each of the spans, exactly: `[spans, blocks of outputs, rows]`.
    ///
    /// # Panics
    /// If rows end behind the input, or there are not as many weights as a row has inputs.
    fn multiply<const SPANS: usize, const WIDTH: usize>(
        &self,
        factors: Factors<'_, WIDTH>,
        spans: [usize; SPANS],
        sums: &mut [[Square; WIDTH]; SPANS],
    );
}
