//! Images as they come out of worse cameras and careless hands, after the kinds of Hendrycks and
//! Dietterich 2019, with severities of our own for 28×28 pixels.

use std::f64::consts::TAU;

use fmnist_core::Image;
use image::{GrayImage, imageops};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

/// What becomes worse from severity 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Corruption {
    Noise,
    Blur,
    Brightness,
    Contrast,
    Shift,
    Rotation,
    Occlusion,
}

/// Severities, 1 to 5.
pub(crate) const SEVERITIES: usize = 5;

impl Corruption {
    /// What its amounts are, for the report, and those of the five severities.
    pub(crate) const fn amounts(self) -> (&'static str, [f64; SEVERITIES]) {
        match self {
            Self::Noise => ("σ of normal noise, grey levels", [10.0, 20.0, 30.0, 45.0, 60.0]),
            Self::Blur => ("σ of a Gaussian, pixels", [0.4, 0.7, 1.0, 1.4, 1.8]),
            Self::Brightness => ("grey levels added", [15.0, 30.0, 45.0, 65.0, 90.0]),
            Self::Contrast => ("factor on the distance from the mean", [0.8, 0.6, 0.45, 0.3, 0.2]),
            Self::Shift => ("pixels, in any direction", [1.0, 2.0, 3.0, 4.0, 5.0]),
            Self::Rotation => ("degrees, to either side", [5.0, 10.0, 15.0, 20.0, 30.0]),
            Self::Occlusion => ("side of a grey square, pixels", [5.0, 7.0, 9.0, 11.0, 13.0]),
        }
    }

    /// Corrupts one image by an amount.
    pub(crate) fn apply(self, image: &Image, amount: f64, random: &mut impl Rng) -> Image {
        match self {
            Self::Noise => {
                let normal = Normal::new(0.0, amount).expect("amounts are finite");
                each_pixel(image, |pixel| pixel + normal.sample(random))
            }
            Self::Blur => {
                let picture = GrayImage::from_raw(28, 28, image.pixels().to_vec());
                let blurred = imageops::blur(&picture.expect("784 pixels"), amount as f32);
                Image::from_fn(|row, column| blurred.get_pixel(column as u32, row as u32).0[0])
            }
            Self::Brightness => each_pixel(image, |pixel| pixel + amount),
            Self::Contrast => {
                let sum: f64 = image.pixels().iter().map(|&pixel| f64::from(pixel)).sum();
                let mean = sum / Image::PIXELS as f64;
                each_pixel(image, |pixel| mean + amount * (pixel - mean))
            }
            Self::Shift => {
                let direction = random.random_range(0.0..TAU);
                let [right, down] = [direction.cos(), direction.sin()].map(|d| amount * d);
                moved(image, |column, row| [column - right, row - down])
            }
            Self::Rotation => {
                let degrees = if random.random() { amount } else { -amount };
                let (sine, cosine) = degrees.to_radians().sin_cos();
                moved(image, |column, row| {
                    let (x, y) = (column - CENTRE, row - CENTRE);
                    [CENTRE + cosine * x + sine * y, CENTRE + cosine * y - sine * x]
                })
            }
            Self::Occlusion => {
                let side = amount as usize;
                let (top, left) =
                    (random.random_range(0..=28 - side), random.random_range(0..=28 - side));
                let grey = random.random();
                Image::from_fn(|row, column| {
                    let inside =
                        (top..top + side).contains(&row) && (left..left + side).contains(&column);
                    if inside { grey } else { image.pixels()[row * Image::WIDTH + column] }
                })
            }
        }
    }
}

/// Of an image, between its middle pixels.
const CENTRE: f64 = 13.5;

fn each_pixel(image: &Image, mut change: impl FnMut(f64) -> f64) -> Image {
    let pixel = |at: usize| f64::from(image.pixels()[at]);
    // A cast saturates at 0 and 255.
    Image::from_fn(|row, column| change(pixel(row * Image::WIDTH + column)).round() as u8)
}

/// Looks each pixel up at a place of the image, between four pixels; outside is background.
fn moved(image: &Image, from: impl Fn(f64, f64) -> [f64; 2]) -> Image {
    let pixel = |row: i32, column: i32| {
        let inside = (0..28).contains(&row) && (0..28).contains(&column);
        if inside { f64::from(image.pixels()[(row * 28 + column) as usize]) } else { 0.0 }
    };
    Image::from_fn(|row, column| {
        let [x, y] = from(column as f64, row as f64);
        let (left, top) = (x.floor() as i32, y.floor() as i32);
        let (right, down) = (x - x.floor(), y - y.floor());
        let line = |row| pixel(row, left) * (1.0 - right) + pixel(row, left + 1) * right;
        (line(top) * (1.0 - down) + line(top + 1) * down).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use fmnist_core::dataset::{Split, synthetic};

    use super::*;
    use crate::learn::sampling::{Stream, generator};

    fn corrupted(corruption: Corruption, amount: f64, seed: u64, image: &Image) -> Image {
        corruption.apply(image, amount, &mut generator(seed, Stream::Corruption, 0))
    }

    fn distance(a: &Image, b: &Image) -> f64 {
        let pairs = a.pixels().iter().zip(b.pixels());
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / Image::PIXELS as f64
    }

    #[test]
    fn every_severity_is_further_from_the_original_than_the_last() {
        let images = synthetic(Split::Test, 40, 1).images;
        for &corruption in Corruption::value_variants() {
            let distances = corruption.amounts().1.map(|amount| {
                let far =
                    |(seed, image)| distance(image, &corrupted(corruption, amount, seed, image));
                (0..).zip(&*images).map(far).sum::<f64>() / images.len() as f64
            });
            let rises = distances.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(rises && distances[0] > 1.0, "{corruption:?}: {distances:?}");
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        let image = &synthetic(Split::Test, 1, 1).images[0];
        for &corruption in Corruption::value_variants() {
            let amount = corruption.amounts().1[2];
            let [once, again] = [4, 4].map(|seed| corrupted(corruption, amount, seed, image));
            assert_eq!(once, again);
        }
        let noise = [4, 5].map(|seed| corrupted(Corruption::Noise, 20.0, seed, image));
        assert_ne!(noise[0], noise[1]);
    }

    #[test]
    fn a_quarter_turn_moves_the_upper_row_to_a_side() {
        let image = Image::from_fn(|row, column| if row == 0 { column as u8 } else { 0 });
        let turned = corrupted(Corruption::Rotation, 90.0, 1, &image);
        let right = Image::from_fn(|row, column| if column == 27 { row as u8 } else { 0 });
        let left = Image::from_fn(|row, column| if column == 0 { 27 - row as u8 } else { 0 });
        assert!(turned == right || turned == left, "{turned:?}");
    }

    #[test]
    fn brightness_stops_at_white_and_contrast_keeps_the_mean() {
        let image = Image::from_fn(|row, _| if row < 14 { 200 } else { 100 });
        let brighter = Image::from_fn(|row, _| if row < 14 { 255 } else { 190 });
        assert_eq!(corrupted(Corruption::Brightness, 90.0, 1, &image), brighter);
        let flatter = Image::from_fn(|row, _| if row < 14 { 160 } else { 140 });
        assert_eq!(corrupted(Corruption::Contrast, 0.2, 1, &image), flatter);
    }

    #[test]
    fn occlusion_covers_a_square_with_one_grey() {
        let image = Image::new([0; Image::PIXELS]);
        let covered = corrupted(Corruption::Occlusion, 9.0, 1, &image);
        let grey = covered.pixels().iter().copied().max().expect("pixels");
        assert!(grey > 0);
        assert_eq!(covered.pixels().iter().filter(|&&pixel| pixel == grey).count(), 81);
    }
}
