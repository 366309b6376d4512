//! What the tests of several packages need. A dev-dependency alone: it knows no broker and no model, so that
//! nothing is compiled for it that the tests would not have.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

pub mod emulator;
mod program;
mod written;

pub use program::{Program, example, get};
pub use written::Written;
