//! The fast path: a network's weights compiled into a plan for this processor.
//!
//! A [`Plan`] is built once from a weights file: batch normalisation and pixel normalisation are
//! folded into the convolutions, weights are packed for the vector registers, and what follows a
//! convolution (bias, residual, ReLU, pooling) happens before its one store. The networks stay
//! defined in [`model`](crate::model); a plan computes what they compute, within rounding.
//!
//! | room | has |
//! |---|---|
//! | `isa` | instruction sets, a file each: sixteen numbers, or sums of products of bytes, in registers |
//! | `ops` | what a plan's steps compute, once for all of them: the first layer from pixels, 3×3 convolutions by Winograd, matrices, a dense layer that skips zeros, and layers over bytes |
//! | `compile`, `target`, `plan` | weights folded and packed into steps for an instruction set, and their way through |
//! | `train` | a [`Tape`]: forward with batch statistics, and back |
//! | `threads` | who computes a batch |
//!
//! `unsafe` lives in `isa` alone.

mod compile;
mod isa;
mod layout;
mod ops;
mod plan;
mod target;
#[cfg(test)]
mod tests;
mod threads;
mod train;

pub use compile::{Precision, activations};
pub use isa::{Isa, UnknownIsa};
// The names of before, which the variable `FMNIST_KERNEL` has, too.
pub use isa::{Isa as Kernel, UnknownIsa as UnknownKernel};
pub use plan::Plan;
pub use threads::Threads;
pub use train::Tape;
