//! What the program can be told to do, a file each.

pub(crate) mod calibrate;
pub(crate) mod card;
pub(crate) mod cross_validate;
pub(crate) mod download;
pub(crate) mod evaluate;
pub(crate) mod import;
pub(crate) mod queue;
pub(crate) mod report;
pub(crate) mod robustness;
pub(crate) mod seeds;
pub(crate) mod speed;
pub(crate) mod train;
