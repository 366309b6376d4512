//! What the fuzzer's targets call.

#[cfg(feature = "configuration")]
mod configuration;
mod entry_points;

#[cfg(feature = "configuration")]
pub use configuration::configuration;
pub use entry_points::{cloud_event, idx, inference_protocol, picture, request, weights};
