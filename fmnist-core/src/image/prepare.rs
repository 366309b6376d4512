//! From a photo to what the data set looks like.
//!
//! Follows the recipe of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, section 2): trim to the
//! garment, scale the longest edge to 28, centre, negate, grey. The originals lie on white; here
//! the background is measured.

use ::image::{
    DynamicImage, GrayImage, Luma,
    imageops::{self, FilterType},
};

use super::{
    Image,
    garment::{Bounds, Mask},
    ground::Ground,
};

/// A longest edge above this is reduced to it first: eight pixels for each of the model's.
const LARGEST_EDGE: u32 = 224;
/// Deviation of the Gaussian that takes noise away before pixels are judged, in pixels.
const SMOOTHING: f32 = 1.0;
/// A faint garment is made so many times as bright at most.
const MOST_STRETCH: f32 = 4.0;

/// Makes a photo look like the data set: grey, background black, garment cropped, its aspect kept,
/// longest edge 28 pixels, centred, its brightest pixel white as in 99 of 100 images of the data set.
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
    let grey = reduced(grey);
    let smooth = imageops::blur(&grey, SMOOTHING);
    let ground = Ground::measure(&smooth);
    // Noise stands out before it is smoothed only, the rim of a sharp edge afterwards only.
    let stands_out = |x, y, luma| {
        let lumas = [luma, grey.get_pixel(x, y).0[0]];
        lumas.iter().all(|&luma| ground.difference(x, y, luma) > ground.texture)
    };
    let mask = Mask::of(&smooth, stands_out).without_specks();
    let Some(bounds) = mask.bounds() else { return Image::new([0; Image::PIXELS]) };
    let mask = mask.grown();
    let garment = GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        let difference = ground.difference(x, y, grey.get_pixel(x, y).0[0]);
        let value = if mask.has(x, y) { difference * 255.0 / ground.range(x, y) } else { 0.0 };
        Luma([value.round() as u8]) // saturates
    });
    stretched(&fit(&garment, bounds))
}

/// Averages a large photo down, which also takes noise away.
fn reduced(grey: GrayImage) -> GrayImage {
    let longest = grey.width().max(grey.height());
    if longest <= LARGEST_EDGE {
        return grey;
    }
    let side = |side: u32| {
        let scaled = u64::from(side) * u64::from(LARGEST_EDGE) / u64::from(longest);
        (scaled as u32).max(1)
    };
    imageops::thumbnail(&grey, side(grey.width()), side(grey.height()))
}

/// Makes the brightest pixel white.
fn stretched(image: &Image) -> Image {
    let brightest = image.pixels().iter().copied().max().unwrap_or(0).max(1);
    let factor = (255.0 / f32::from(brightest)).min(MOST_STRETCH);
    let pixel = |at: usize| (f32::from(image.pixels()[at]) * factor).round() as u8;
    Image::from_fn(|row, column| pixel(row * Image::WIDTH + column))
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
