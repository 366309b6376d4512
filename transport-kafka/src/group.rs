//! The consumer's group.

pub(crate) mod membership;
pub(crate) mod start;
