//! AMX: tiles of sixteen rows of 64 bytes, and an instruction that multiplies two of them, beside AVX-512.
//! Rust 1.95 has no stable intrinsics for it, so the instructions are written as such. Tiles keep what they hold
//! from one to the next, which Rust's reference does not promise of registers; the compiler makes nothing for
//! tiles unless it is told to, and keeps the order of such blocks.
//!
//! Intel® 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

use std::{
    arch::{
        asm,
        x86_64::{__cpuid_count, _xgetbv},
    },
    cell::Cell,
    marker::PhantomData,
    sync::LazyLock,
};

use super::{Bytes, Factors, Products, Row, Square, Weights};

/// Calls a function of one of the tiles of a list by its number, which the optimiser knows once it has unrolled
/// its loop. Each is compiled: one that takes some tiles alone must be given those.
macro_rules! numbered {
    ([$($tile:literal)+] $number:expr => $function:ident $arguments:tt) => {
        match $number {
            $($tile => $function::<$tile> $arguments,)+
            _ => unreachable!("no such tile"),
        }
    };
}

/// Whether the processor has tiles of bytes, the operating system keeps them, and it lends them to this
/// process, which is asked for once.
pub(super) fn is_available() -> bool {
    static LENT: LazyLock<bool> = LazyLock::new(|| has_tiles() && lends_tiles());
    *LENT
}

fn has_tiles() -> bool {
    const TILES_OF_BYTES: u32 = 1 << 24 | 1 << 25;
    const KEPT: u64 = 1 << 17 | 1 << 18;
    /// The registers that the operating system keeps for each thread.
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: whatever has AVX-512 has the instruction, and the operating system has switched it on.
        unsafe { _xgetbv(0) }
    }
    is_x86_feature_detected!("avx512f")
        && __cpuid_count(7, 0).edx & TILES_OF_BYTES == TILES_OF_BYTES
        // SAFETY: as above.
        && unsafe { kept() } & KEPT == KEPT
}

/// Asks Linux for the tiles' data, which it keeps for those processes alone that want it: a thread's state
/// grows by 8 KiB, and a signal stack that is too small for that is refused from then on
/// (Documentation/arch/x86/xstate.rst).
fn lends_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that touches no memory; a kernel that does not know it says so.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, nomem),
        );
    }
    result == 0
}

thread_local! {
    /// Whether this thread has its tiles in use: they have one shape at a time.
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// This thread's tiles, of which there are eight: four for sums, two for inputs, two for weights.
pub(super) struct Tiles {
    rows: usize,
    /// Blocks of a row that a tile holds.
    blocks: usize,
    /// Another thread's tiles have other shapes.
    here: PhantomData<*const ()>,
}

/// The first tile of inputs; those before it are of sums.
const INPUTS: usize = 4;
/// The first tile of weights.
const WEIGHTS: usize = 6;
/// How many tiles there are.
const ALL: usize = 8;

/// `TILECFG`: how many rows of how many bytes each tile has.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Products for Tiles {
    #[inline(always)]
    fn new(rows: usize, blocks: usize) -> Self {
        assert!(is_available(), "this processor has no AMX, or the system does not lend it");
        assert!((1..=Square::ROWS).contains(&rows) && (1..=4).contains(&blocks));
        assert!(!IN_USE.replace(true), "this thread has its tiles in use");
        let depth = blocks * size_of::<Bytes>();
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        shapes.row_bytes[..ALL].fill(size_of::<Weights>() as u16);
        shapes.row_bytes[INPUTS..WEIGHTS].fill(depth as u16);
        shapes.rows[..WEIGHTS].fill(rows as u8);
        shapes.rows[WEIGHTS..ALL].fill((depth / Bytes::GROUP) as u8);
        // SAFETY: the processor has tiles, and of such shapes. The compiler, which makes nothing for them, does
        // not change them, and nothing else here has some at the same time.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
        Self { rows, blocks, here: PhantomData }
    }

    #[inline(always)]
    fn multiply<const SPANS: usize, const WIDTH: usize>(
        &self,
        factors: Factors<'_, WIDTH>,
        spans: [usize; SPANS],
        sums: &mut [[Square; WIDTH]; SPANS],
    ) {
        const { assert!(SPANS * WIDTH <= INPUTS && SPANS <= 2) };
        let Factors { input, stride, runs, length, weights } = factors;
        let groups = self.blocks * size_of::<Bytes>() / Bytes::GROUP;
        assert!(length.is_multiple_of(self.blocks));
        assert_eq!(weights.len(), runs.len() * length / self.blocks * groups, "a weight an input");
        let reach = (self.rows - 1).saturating_mul(stride).saturating_add(length);
        let (span, run) = (spans.iter().max(), runs.iter().max());
        let end =
            [span, run].into_iter().flatten().fold(reach, |end, more| end.saturating_add(*more));
        assert!(end <= input.len(), "rows end behind the input");

        let mut weights = weights.as_flattened().as_ptr();
        // SAFETY: the tiles have their shapes since `new`, which only one of these has. By what is asserted above
        // the last row ends within the input, and there are as many weights as a row has inputs; a square has
        // as many rows as a tile can have.
        unsafe {
            for sum in 0..SPANS * WIDTH {
                numbered!([0 1 2 3] sum => zero());
            }
            for run in runs {
                for first in (*run..run + length).step_by(self.blocks) {
                    for column in 0..WIDTH {
                        let columns = weights.add(column).cast();
                        let stride_bytes = WIDTH * size_of::<Weights>();
                        numbered!([6 7] WEIGHTS + column % 2 => load(columns, stride_bytes));
                        for (span, start) in spans.into_iter().enumerate() {
                            if column == 0 {
                                let rows = input.as_ptr().add(start + first).cast();
                                let stride_bytes = stride * size_of::<Bytes>();
                                numbered!([4 5] INPUTS + span => load(rows, stride_bytes));
                            }
                            let sum = span * WIDTH + column;
                            numbered!([0 1 2 3] sum => add_products(span, column % 2));
                        }
                    }
                    weights = weights.add(groups * WIDTH);
                }
            }
            for (sum, square) in sums.as_flattened_mut().iter_mut().enumerate() {
                numbered!([0 1 2 3] sum => store(square));
            }
        }
    }
}

impl Drop for Tiles {
    /// What is not in use need not be kept when the thread pauses.
    fn drop(&mut self) {
        // SAFETY: the processor has tiles, and nothing else here has some at the same time.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
        IN_USE.set(false);
    }
}

#[inline(always)]
unsafe fn zero<const TILE: usize>() {
    // SAFETY: the caller's tiles.
    unsafe { asm!("tilezero tmm{}", const TILE, options(nostack, nomem)) }
}

/// Rows that lie `stride` bytes apart.
#[inline(always)]
unsafe fn load<const TILE: usize>(first: *const u8, stride: usize) {
    // SAFETY: the caller's rows.
    unsafe {
        asm!(
            "tileloadd tmm{}, [{} + {}]",
            const TILE, in(reg) first, in(reg) stride,
            options(nostack, readonly),
        )
    }
}

/// Adds to the tile of sums the products of bytes without sign in one of the two tiles of inputs with bytes
/// with sign in one of weights.
#[inline(always)]
unsafe fn add_products<const SUM: usize>(inputs: usize, weights: usize) {
    macro_rules! products {
        ($inputs:literal, $weights:literal) => {
            // SAFETY: the caller's tiles.
            unsafe {
                asm!(
                    concat!("tdpbusd tmm{}, tmm", $inputs, ", tmm", $weights),
                    const SUM,
                    options(nostack, nomem),
                )
            }
        };
    }
    match (inputs, weights) {
        (0, 0) => products!(4, 6),
        (0, _) => products!(4, 7),
        (_, 0) => products!(5, 6),
        (_, _) => products!(5, 7),
    }
}

#[inline(always)]
unsafe fn store<const TILE: usize>(square: &mut Square) {
    let (first, stride) = (square.0.as_mut_ptr(), size_of::<Row>());
    // SAFETY: a square has room for the largest tile.
    unsafe {
        asm!(
            "tilestored [{} + {}], tmm{}",
            in(reg) first, in(reg) stride, const TILE,
            options(nostack),
        )
    }
}
