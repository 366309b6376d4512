//! What the steps of a plan compute with.

mod bytes;
mod matrix;
mod sparse;
mod stem;
mod winograd;

pub(super) use bytes::{
    ByteLayer, ByteStem, Numbers, Quanta, Real, byte_layer, byte_pool, byte_stem,
};
pub(super) use matrix::{Matrix, multiply};
pub(super) use sparse::{Nonzero, SparseDense, sparse_dense};
pub(super) use stem::{Stem, stem};
pub(super) use winograd::{PATCH, TILE, Tiles, Winograd, winograd};
