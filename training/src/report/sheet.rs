//! Pictures side by side, as PNG.

use std::path::Path;

use anyhow::{Context, Result};
use fmnist_core::Image;
use image::{
    Rgb, RgbImage,
    imageops::{self, FilterType},
};

/// Pixels along an edge of a tile: four for each pixel of an image.
pub(crate) const TILE: u32 = 112;
/// White around each tile, in pixels.
const GAP: u32 = 8;

/// An image as a tile, each pixel a square.
pub(crate) fn tile(image: &Image) -> RgbImage {
    let edge = Image::WIDTH as u32;
    let small = RgbImage::from_fn(edge, edge, |x, y| {
        Rgb([image.pixels()[y as usize * Image::WIDTH + x as usize]; 3])
    });
    imageops::resize(&small, TILE, TILE, FilterType::Nearest)
}

/// Writes `tiles` in rows of `columns`.
pub(crate) fn write(path: &Path, tiles: &[RgbImage], columns: usize) -> Result<()> {
    let rows = tiles.len().div_ceil(columns) as u32;
    let edge = |tiles: u32| tiles * (TILE + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(edge(columns as u32), edge(rows), Rgb([255; 3]));
    for (index, tile) in tiles.iter().enumerate() {
        let place = |position: usize| i64::from(GAP + position as u32 * (TILE + GAP));
        imageops::replace(&mut sheet, tile, place(index % columns), place(index / columns));
    }
    sheet.save(path).with_context(|| format!("cannot write {}", path.display()))
}
