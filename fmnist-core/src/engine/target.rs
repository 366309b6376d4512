//! What a plan is compiled for: how layers over bytes are computed, and how their weights are packed for it.

use std::array;

use super::isa::{Block, Isa, Packed, Pairs, Weights, WideWeights};

/// An instruction set, and how layers over bytes are computed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) isa: Isa,
    pub(super) method: ByteMethod,
}

/// How layers over bytes are computed. The results are the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteMethod {
    /// By sums of four products.
    Direct,
    /// By products of whole matrices.
    Tiles,
    /// 3×3 convolutions by minimal filtering, all else directly.
    Winograd,
}

impl From<Isa> for Target {
    /// By the fastest method.
    fn from(isa: Isa) -> Self {
        let method = match isa {
            Isa::Amx => ByteMethod::Tiles,
            Isa::Avx512 => ByteMethod::Direct,
            Isa::Avx2 | Isa::Portable => ByteMethod::Winograd,
        };
        Self { isa, method }
    }
}

impl Target {
    /// How long a multiply-add takes, of numbers and of bytes, about: one of numbers with AVX-512 takes 1.
    pub(super) fn costs(self) -> [f64; 2] {
        match self.isa {
            Isa::Amx => [1.0, 0.1],
            Isa::Avx512 => [1.0, 0.25],
            Isa::Avx2 => [1.8, 1.75],
            Isa::Portable => [7.0, 10.0],
        }
    }

    /// A layer's weights as the instruction set takes them, and as tiles do.
    pub(super) fn pack(self, weights: impl Iterator<Item = Weights>) -> Packed {
        let weights: Box<[Weights]> = weights.collect();
        match self.isa {
            Isa::Amx | Isa::Avx512 => Packed { bytes: weights, words: Box::default() },
            Isa::Avx2 | Isa::Portable => Packed {
                words: weights.iter().map(|weights| self.widen(weights)).collect(),
                bytes: if self.method == ByteMethod::Tiles { weights } else { Box::default() },
            },
        }
    }

    fn widen(self, Weights(weights): &Weights) -> WideWeights {
        let pairs =
            |first: usize| self.pairs(|lane, member| i16::from(weights[lane][first + 2 * member]));
        WideWeights([0, 1].map(pairs))
    }

    /// Two inputs' weights from what `weight` gives for each of sixteen sums and both: `[16, 2]`, as instructions add
    /// products in pairs, or `[2, 16]` where there are none, which compilers know what to do with.
    pub(super) fn pairs(self, weight: impl Fn(usize, usize) -> i16) -> Pairs {
        Pairs(array::from_fn(|index| match self.isa {
            Isa::Portable => weight(index % Block::LANES, index / Block::LANES),
            _ => weight(index / 2, index % 2),
        }))
    }
}
