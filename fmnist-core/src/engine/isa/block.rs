//! What registers are loaded from and stored to.

/// Sixteen channels of one position: the unit that every operation loads, computes and stores.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [f32; Block::LANES]);

impl Block {
    /// Numbers in a block.
    pub(crate) const LANES: usize = 16;
    /// Sixteen zeros.
    pub(crate) const ZERO: Self = Self([0.0; Self::LANES]);

    /// Block `block` of the numbers that `number` gives for `0..count`; zeros behind them.
    pub(crate) fn from_fn(block: usize, count: usize, number: impl Fn(usize) -> f32) -> Self {
        let first = block * Self::LANES;
        Self(std::array::from_fn(
            |lane| if first + lane < count { number(first + lane) } else { 0.0 },
        ))
    }

    /// All blocks of such numbers.
    pub(crate) fn pack(count: usize, number: impl Fn(usize) -> f32) -> Box<[Self]> {
        (0..count.div_ceil(Self::LANES)).map(|block| Self::from_fn(block, count, &number)).collect()
    }
}

/// The same numbers, one by one.
pub(crate) fn flat(blocks: &[Block]) -> &[f32] {
    // SAFETY: a block is sixteen f32 without padding (64 bytes, `repr(C)`), and f32 is less aligned.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * Block::LANES) }
}

/// Sixteen channels of one position, in quanta.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct Bytes(pub(crate) [u8; Block::LANES]);

impl Bytes {
    /// Sixteen zeros.
    pub(crate) const ZERO: Self = Self([0; Block::LANES]);
    /// Inputs that one instruction multiplies.
    pub(crate) const GROUP: usize = 4;
}

/// The same quanta, four by four.
pub(crate) fn groups(bytes: &[Bytes]) -> &[[u8; Bytes::GROUP]] {
    // SAFETY: `Bytes` is sixteen u8 without padding (`repr(C)`), four arrays of four.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() * 4) }
}

/// Four inputs' weights for sixteen sums: `[16, 4]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Weights(pub(crate) [[i8; Bytes::GROUP]; Block::LANES]);

/// Sixteen numbers of 16 bits: channels of one position.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Words(pub(crate) [i16; Block::LANES]);

impl Words {
    /// Sixteen zeros.
    pub(crate) const ZERO: Self = Self([0; Block::LANES]);
}

/// The same numbers, two by two.
pub(crate) fn pairs(words: &[Words]) -> &[[i16; 2]] {
    // SAFETY: `Words` is sixteen i16 without padding (`repr(C)`), eight arrays of two.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
}

/// Two inputs' weights for sixteen sums, in the order of [`Target::pairs`](crate::engine::target::Target::pairs).
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Pairs(pub(crate) [i16; 2 * Block::LANES]);

/// Four inputs' weights for sixteen sums: of the first and the third, and of the second and the fourth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WideWeights(pub(crate) [Pairs; 2]);

/// A layer's weights as an instruction set takes them; what it does not take is empty.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: Box<[Weights]>,
    pub(crate) words: Box<[WideWeights]>,
}

/// Sixteen sums.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Row(pub(crate) [i32; Block::LANES]);

impl Row {
    /// Sixteen zeros.
    pub(crate) const ZERO: Self = Self([0; Block::LANES]);
}

/// Sixteen rows of sixteen sums.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Square(pub(crate) [Row; Square::ROWS]);

impl Square {
    pub(crate) const ROWS: usize = 16;
    pub(crate) const ZERO: Self = Self([Row::ZERO; Self::ROWS]);
}

/// Matrices of bytes, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors<'a, const WIDTH: usize> {
    pub(crate) input: &'a [Bytes],
    /// Blocks from the beginning of a row to that of the next.
    pub(crate) stride: usize,
    /// A row lies in runs: where each begins behind the first, in blocks.
    pub(crate) runs: &'a [usize],
    /// Blocks of a run.
    pub(crate) length: usize,
    /// Of `WIDTH` blocks of outputs: `[runs, length, 4]`.
    pub(crate) weights: &'a [[Weights; WIDTH]],
}
