//! From a photo to what the data set looks like.
//!
//! Follows the recipe of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, section 2): trim to the
//! garment, scale the longest edge to 28, centre, negate, grey. The originals lie on white; here
//! the background is measured.

use ::image::{
    DynamicImage, GrayImage, Luma,
    imageops::{self, FilterType},
};

use super::Image;

/// Makes a photo look like the data set: grey, background black, garment cropped, its aspect kept,
/// longest edge 28 pixels, centred.
///
/// 28×28 pixels on a dark background are taken as they are. A picture without anything that
/// stands out from its border comes back black.
pub fn prepare(photo: &DynamicImage) -> Image {
    let grey = flatten(photo);
    if grey.width() == 0 || grey.height() == 0 {
        return Image::new([0; Image::PIXELS]);
    }
    if is_native(&grey) {
        return Image::from_fn(|row, column| grey.get_pixel(column as u32, row as u32).0[0]);
    }
    let garment = Ground::measure(&grey).remove(grey);
    match bounds(&garment) {
        Some(bounds) => fit(&garment, bounds),
        None => Image::new([0; Image::PIXELS]),
    }
}

/// Whether it has 28×28 pixels and a dark background already.
///
/// Garments of the data set touch the border; of its 70,000 images the fullest leaves 34 of the
/// 108 border pixels dark, and of their negatives none has more than 22.
fn is_native(grey: &GrayImage) -> bool {
    const LEAST_DARK: usize = 28;
    grey.dimensions() == (Image::WIDTH as u32, Image::HEIGHT as u32)
        && border(grey).filter(|&luma| luma < 32).count() >= LEAST_DARK
}

/// The luma of each pixel of the border.
fn border(grey: &GrayImage) -> impl Iterator<Item = u8> {
    let (width, height) = grey.dimensions();
    let rows = (0..width).flat_map(move |x| [(x, 0), (x, height - 1)]);
    let columns = (1..height.saturating_sub(1)).flat_map(move |y| [(0, y), (width - 1, y)]);
    rows.chain(columns).map(|(x, y)| grey.get_pixel(x, y).0[0])
}

/// To grey; what is transparent is laid on white or black, whichever differs from the garment.
fn flatten(photo: &DynamicImage) -> GrayImage {
    if !photo.color().has_alpha() {
        return photo.to_luma8();
    }
    let grey = photo.to_luma_alpha8();
    let (sum, weight) = grey.pixels().fold((0_u64, 0_u64), |(sum, weight), pixel| {
        let [luma, alpha] = pixel.0.map(u64::from);
        (sum + luma * alpha, weight + alpha)
    });
    let white = sum < weight * 128;
    let ground = if white { 255_u32 } else { 0 };
    GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        let [luma, alpha] = grey.get_pixel(x, y).0.map(u32::from);
        Luma([((luma * alpha + ground * (255 - alpha) + 127) / 255) as u8])
    })
}

/// The background, as the border shows it.
struct Ground {
    /// Median of the border, 0 to 255.
    level: u8,
    /// Differences up to here are texture, not garment.
    texture: u8,
}

impl Ground {
    fn measure(grey: &GrayImage) -> Self {
        /// Compression and sensor noise of a plain ground.
        const LEAST_TEXTURE: u8 = 12;
        let (width, height) = grey.dimensions();
        let rows = (0..width).flat_map(|x| [(x, 0), (x, height - 1)]);
        let columns = (0..height).flat_map(|y| [(0, y), (width - 1, y)]);
        let border: Vec<u8> = rows.chain(columns).map(|(x, y)| grey.get_pixel(x, y).0[0]).collect();
        let level = median(border.clone());
        let deviation = median(border.iter().map(|luma| luma.abs_diff(level)).collect());
        // Of normal noise the median deviation is 0.67 σ: four of them leave 0.7 % of the ground.
        let texture = deviation.saturating_mul(4).clamp(LEAST_TEXTURE, 64);
        Self { level, texture }
    }

    fn is_light(&self) -> bool {
        self.level >= 128
    }

    /// Makes the background 0 and stretches the garment to what full contrast would give.
    fn remove(&self, mut grey: GrayImage) -> GrayImage {
        let level = u32::from(self.level);
        let mut table = [0_u8; 256];
        for (luma, out) in (0_u32..).zip(&mut table) {
            let (difference, range) = if self.is_light() {
                (level.saturating_sub(luma), level)
            } else {
                (luma.saturating_sub(level), 255 - level)
            };
            if difference > u32::from(self.texture) {
                *out = (difference * 255 / range) as u8;
            }
        }
        for pixel in grey.pixels_mut() {
            pixel.0[0] = table[usize::from(pixel.0[0])];
        }
        grey
    }
}

fn median(mut values: Vec<u8>) -> u8 {
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

/// Columns and rows that a garment takes, half-open.
#[derive(Clone, Copy)]
struct Bounds {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

/// The smallest box around the garment; a row or column with a few specks only is outside.
fn bounds(garment: &GrayImage) -> Option<Bounds> {
    let (width, height) = garment.dimensions();
    let (mut rows, mut columns) = (vec![0_u32; height as usize], vec![0_u32; width as usize]);
    for (x, y, _) in garment.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] != 0) {
        rows[y as usize] += 1;
        columns[x as usize] += 1;
    }
    let (left, right) = extent(&columns, 1 + height / 64)?;
    let (top, bottom) = extent(&rows, 1 + width / 64)?;
    Some(Bounds { left, top, right, bottom })
}

fn extent(ink: &[u32], least: u32) -> Option<(u32, u32)> {
    let first = ink.iter().position(|&count| count >= least)?;
    let last = ink.iter().rposition(|&count| count >= least)?;
    Some((first as u32, last as u32 + 1))
}

/// Scales the box so that its longest edge is 28 and centres it.
fn fit(garment: &GrayImage, bounds: Bounds) -> Image {
    let Bounds { left, top, right, bottom } = bounds;
    let (width, height) = (right - left, bottom - top);
    let crop = imageops::crop_imm(garment, left, top, width, height).to_image();
    let edge = Image::WIDTH as u32;
    let scaled = |side: u32| {
        let longest = u64::from(width.max(height));
        ((u64::from(side) * u64::from(edge) + longest / 2) / longest).max(1) as u32
    };
    let (width, height) = (scaled(width), scaled(height));
    let small = imageops::resize(&crop, width, height, FilterType::CatmullRom);
    let mut canvas = GrayImage::new(edge, edge);
    let centre = |side| i64::from((edge - side) / 2);
    imageops::replace(&mut canvas, &small, centre(width), centre(height));
    Image::from_fn(|row, column| canvas.get_pixel(column as u32, row as u32).0[0])
}
