//! How a network learns, and how good it is.

pub(crate) mod augment;
pub(crate) mod average;
pub(crate) mod checkpoint;
pub(crate) mod corrupt;
pub(crate) mod history;
pub(crate) mod objective;
pub(crate) mod recipe;
pub(crate) mod run;
pub(crate) mod sampling;
pub(crate) mod schedule;
pub(crate) mod score;
pub(crate) mod shards;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trainer;
