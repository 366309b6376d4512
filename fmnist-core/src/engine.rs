//! The fast path: a network's weights compiled into a plan for this processor.
//!
//! A [`Plan`] is built once from a weights file: batch normalisation and pixel normalisation are
//! folded into the convolutions, weights are packed for the vector registers, and what follows a
//! convolution (bias, residual, ReLU, pooling) happens before its one store. The networks stay
//! defined in [`model`](crate::model); a plan computes what they compute, within rounding.
//!
//! | step | computes |
//! |---|---|
//! | stem | the first 3×3 convolution straight from pixels, ReLU and pool in registers |
//! | Winograd | a 3×3 convolution with residual, ReLU and pool |
//! | matrix | a 1×1 convolution or a dense layer |
//! | sparse dense | a dense layer behind a ReLU, which skips inputs that are zero |
//!
//! A [`Tape`] is training's side: the same kernels forward with batch statistics, and back.
//!
//! `unsafe` lives in `isa` and in `ops/bytes.rs` alone.

mod compile;
mod isa;
mod layout;
mod ops;
mod plan;
#[cfg(test)]
mod tests;
mod threads;
mod train;

pub use compile::{Precision, activations};
pub use isa::{Kernel, UnknownKernel};
pub use plan::Plan;
pub use threads::Threads;
pub use train::Tape;

/// What Burn's batch normalisation adds to a variance.
const NORM_EPSILON: f64 = 1e-5;
