//! What is received.

pub(crate) mod ends;
pub(crate) mod poll;
