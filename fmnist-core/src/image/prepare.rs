//! From a photo to what the data set looks like.
//!
//! Follows the recipe of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, section 2): trim to the
//! garment, scale the longest edge to 28, centre, negate, grey. The originals lie on white; here
//! the background is measured.

use ::image::{
    DynamicImage, GrayImage, RgbImage, RgbaImage,
    imageops::{self, FilterType},
};

use super::{
    Image,
    garment::{Bounds, Mask},
    ground::{Ground, Residue, farthest, nearly_all, quantile},
    lines::Lines,
    pattern::repeated,
    reduction::{flattened, reduced},
};

/// Deviation of the Gaussian that takes noise away before pixels are judged, in pixels.
const SMOOTHING: f32 = 1.0;
/// A ground of less texture has no pattern to look for, grey levels.
const PLAIN: f32 = 7.0;
/// What differs less from its ground is not seen, grey levels of the channel that differs most.
const LEAST_CONTRAST: f32 = 16.0;
/// What differs less than this share of a garment's contrast is its shine on the ground.
const FAINTEST: f32 = 0.06;

/// Makes a photo look like the data set: grey, background black, garment cropped, its aspect kept,
/// longest edge 28 pixels, centred, its brightest pixel white as in 99 of 100 images of the data set.
///
/// 28×28 pixels on a dark background are taken as they are. A picture without anything that
/// stands out from its ground comes back black, which [is blank](Image::is_blank).
pub fn prepare(photo: &DynamicImage) -> Image {
    prepare_small(&reduced(photo))
}

/// [Prepares](prepare()) a picture that was reduced.
pub(super) fn prepare_small(photo: &RgbaImage) -> Image {
    const BLANK: Image = Image::new([0; Image::PIXELS]);
    if photo.is_empty() {
        return BLANK;
    }
    let photo = flattened(photo);
    if let Some(image) = native(&photo) {
        return image;
    }
    let smooth = imageops::blur(&photo, SMOOTHING);
    let ground = Ground::measure(&smooth);
    let (raw, smooth) = (ground.residue(&photo), ground.residue(&smooth));
    let certain = differences(&smooth, &raw);
    let (raw, certain) = if ground.texture > PLAIN {
        without_pattern(ground.texture, &smooth, raw, certain)
    } else {
        (raw, certain)
    };
    let garment = Mask::of(photo.width(), &certain, ground.texture).grown();
    let texture = nearly_all(outside(&garment, &certain));
    let seen = |least| Mask::of(photo.width(), &certain, least).without_specks();
    let garment = seen(texture);
    let inside = certain.iter().enumerate().filter(|(at, _)| garment.has(*at));
    let Some((brightest, &contrast)) = inside.max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
        return BLANK;
    };
    if contrast < LEAST_CONTRAST {
        return BLANK;
    }
    let garment = seen(texture.max(FAINTEST * contrast));
    let Some(bounds) = garment.bounds() else { return BLANK };
    let garment = garment.grown().filled();
    // In the shade a garment differs less from its ground than in the light: what counts is its share
    // of the way from the ground to the colour that differs most.
    let colours: Vec<[f32; 3]> = photo.pixels().map(|pixel| pixel.0.map(f32::from)).collect();
    let full = colours[brightest];
    let values = colours.iter().zip(&raw.pixels).enumerate().map(|(at, (colour, beside))| {
        let way = [0, 1, 2].map(|channel| colour[channel] - beside[channel] - full[channel]);
        let share = farthest(*beside) / farthest(way).max(contrast / 4.0);
        if garment.has(at) { (255.0 * share).round() as u8 } else { 0 } // saturates
    });
    let values = GrayImage::from_raw(photo.width(), photo.height(), values.collect());
    stretched(&fit(&values.expect("a value for each pixel"), bounds))
}

/// How far each pixel is from its ground for certain, in grey levels.
fn differences(smooth: &Residue, raw: &Residue) -> Vec<f32> {
    let lines = Lines::of(smooth);
    // Noise stands out before it is smoothed only, the rim of a sharp edge afterwards only.
    let both = lines.differences(smooth).into_iter().zip(lines.differences(raw));
    both.map(|(smooth, raw)| smooth.min(raw)).collect()
}

/// Takes away what the ground repeats, if less of it stands out then.
fn without_pattern(
    texture: f32,
    smooth: &Residue,
    raw: Residue,
    certain: Vec<f32>,
) -> (Residue, Vec<f32>) {
    /// The rims of a pattern are never quite alike, grey levels.
    const RIM: f32 = 5.0;
    let garment = Mask::of(smooth.width as u32, &certain, texture).without_specks();
    let garment = garment.grown().grown().grown();
    let Some(pattern) = repeated(smooth, &garment) else { return (raw, certain) };
    let rest = raw.without(&pattern);
    let left = differences(&smooth.without(&pattern), &rest);
    let most = |differences: &[f32]| quantile(outside(&garment, differences), 0.98);
    if most(&left) <= most(&certain).max(RIM) { (rest, left) } else { (raw, certain) }
}

/// The differences beside a garment.
fn outside(garment: &Mask, differences: &[f32]) -> Vec<f32> {
    let outside = differences.iter().enumerate().filter(|(at, _)| !garment.has(*at));
    outside.map(|(_, difference)| *difference).collect()
}

/// Makes the brightest pixel white.
fn stretched(image: &Image) -> Image {
    let brightest = image.pixels().iter().copied().max().unwrap_or(0).max(1);
    let factor = 255.0 / f32::from(brightest);
    let pixel = |at: usize| (f32::from(image.pixels()[at]) * factor).round() as u8;
    Image::from_fn(|row, column| pixel(row * Image::WIDTH + column))
}

/// The picture itself, if it has 28×28 pixels and a dark background already.
///
/// Garments of the data set touch the border; of its 70,000 images the fullest leaves 34 of the
/// 108 border pixels dark, and of their negatives none has more than 22.
fn native(photo: &RgbImage) -> Option<Image> {
    const LEAST_DARK: usize = 28;
    if photo.dimensions() != (Image::WIDTH as u32, Image::HEIGHT as u32) {
        return None;
    }
    let grey = imageops::grayscale(photo);
    let image = Image::from_fn(|row, column| grey.get_pixel(column as u32, row as u32).0[0]);
    let on_border = |at: &usize| {
        let (row, column) = (at / Image::WIDTH, at % Image::WIDTH);
        [0, Image::HEIGHT - 1].contains(&row) || [0, Image::WIDTH - 1].contains(&column)
    };
    let dark = (0..Image::PIXELS).filter(on_border).filter(|&at| image.pixels()[at] < 32);
    (dark.count() >= LEAST_DARK).then_some(image)
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
