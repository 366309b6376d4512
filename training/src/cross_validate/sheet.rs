//! Images of the data set side by side, as PNG.

use std::path::Path;

use anyhow::{Context, Result};
use fmnist_core::Image;
use image::{GrayImage, Luma};

/// Pixels in a picture for one pixel of an image.
const SCALE: u32 = 4;
/// White around each image, in pixels of the picture.
const GAP: u32 = 8;

/// Writes `images` in rows of `columns`.
pub(super) fn write(path: &Path, images: &[&Image], columns: usize) -> Result<()> {
    let (width, height) = (Image::WIDTH as u32 * SCALE, Image::HEIGHT as u32 * SCALE);
    let rows = images.len().div_ceil(columns) as u32;
    let mut sheet = GrayImage::from_pixel(
        columns as u32 * (width + GAP) + GAP,
        rows * (height + GAP) + GAP,
        Luma([255]),
    );
    for (index, image) in images.iter().enumerate() {
        let (left, top) = (
            GAP + (index % columns) as u32 * (width + GAP),
            GAP + (index / columns) as u32 * (height + GAP),
        );
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let at = (y / SCALE) as usize * Image::WIDTH + (x / SCALE) as usize;
            sheet.put_pixel(left + x, top + y, Luma([image.pixels()[at]]));
        }
    }
    sheet.save(path).with_context(|| format!("cannot write {}", path.display()))
}
