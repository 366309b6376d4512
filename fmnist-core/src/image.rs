//! Pictures as the model sees them: 28×28 grey, 0 = background.

mod decode;
mod format;
mod garment;
mod ground;
mod lines;
mod pattern;
mod pixels;
mod prepare;
mod reduction;
#[cfg(test)]
mod tests;

pub use decode::{DECODED_BYTES, UploadLimits, decode_upload, decode_upload_within, is_picture};
pub use pixels::{Image, ImageError, sheet_png};
pub use prepare::prepare;
