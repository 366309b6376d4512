//! What the steps of a plan compute with.

mod byte_layer;
mod byte_output;
mod byte_stem;
mod byte_tiles;
mod byte_winograd;
mod bytes;
mod matrix;
mod sparse;
mod stem;
mod winograd;

pub(super) use byte_layer::ByteLayer;
pub(super) use byte_stem::{ByteStem, byte_stem};
pub(super) use byte_winograd::{ByteWinograd, byte_winograd};
pub(super) use bytes::{Real, byte_pool};
pub(super) use matrix::{Matrix, multiply};
pub(super) use sparse::{Nonzero, SparseDense, sparse_dense};
pub(super) use stem::{Stem, stem};
pub(super) use winograd::{Room, Winograd, winograd};
