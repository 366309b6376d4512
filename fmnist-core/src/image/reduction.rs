//! A picture, reduced while it is read.

use ::image::{DynamicImage, GenericImageView, Rgb, RgbImage, Rgba, RgbaImage};

/// A longest edge above this is reduced to between half of it and this.
const LARGEST_EDGE: u32 = 320;

/// Averages squares of pixels in whatever order they come, so that a picture need not be in memory
/// to become small.
pub(super) struct Reduction {
    /// Columns and rows of a square.
    side: u32,
    width: usize,
    height: usize,
    /// Of each square red, green and blue times alpha, and alpha.
    sums: Vec<[u64; 4]>,
    counts: Vec<u64>,
}

impl Reduction {
    /// Of a picture of so many pixels.
    pub(super) fn new(width: u32, height: u32) -> Self {
        let side = width.max(height).div_ceil(LARGEST_EDGE).max(1);
        let [width, height] = [width, height].map(|edge| edge.div_ceil(side) as usize);
        let squares = width * height;
        Self { side, width, height, sums: vec![[0; 4]; squares], counts: vec![0; squares] }
    }

    /// Adds pixels of a row: red, green, blue and alpha from column `first` on, every `step`-th.
    pub(super) fn add(
        &mut self,
        row: u32,
        first: u32,
        step: u32,
        pixels: impl Iterator<Item = [u8; 4]>,
    ) {
        let start = (row / self.side) as usize * self.width;
        let mut column = first;
        for pixel in pixels {
            let at = start + (column / self.side) as usize;
            let [red, green, blue, alpha] = pixel.map(u64::from);
            let sums = &mut self.sums[at];
            for (sum, value) in
                sums.iter_mut().zip([red * alpha, green * alpha, blue * alpha, alpha])
            {
                *sum += value;
            }
            self.counts[at] += 1;
            column += step;
        }
    }

    /// The small picture.
    pub(super) fn finish(self) -> RgbaImage {
        let pixels = self.sums.iter().zip(&self.counts).flat_map(|(sums, count)| {
            let [red, green, blue, alpha] = *sums;
            let mean = |sum: u64, weight: u64| ((sum + weight / 2) / weight.max(1)) as u8;
            [mean(red, alpha), mean(green, alpha), mean(blue, alpha), mean(alpha, *count)]
        });
        RgbaImage::from_raw(self.width as u32, self.height as u32, pixels.collect())
            .expect("four values for each square")
    }
}

/// Reduces a picture that is in memory, whatever its pixels are.
pub(super) fn reduced(picture: &DynamicImage) -> RgbaImage {
    let (width, height) = picture.dimensions();
    let mut reduction = Reduction::new(width, height);
    for row in 0..height {
        let pixels = (0..width).map(|column| picture.get_pixel(column, row).0);
        reduction.add(row, 0, 1, pixels);
    }
    reduction.finish()
}

/// Without transparency: laid on white or black, whichever differs from what is opaque.
pub(super) fn flattened(picture: &RgbaImage) -> RgbImage {
    let (sum, weight) = picture.pixels().fold((0_u64, 0_u64), |(sum, weight), pixel| {
        let [red, green, blue, alpha] = pixel.0.map(u64::from);
        (sum + (2126 * red + 7152 * green + 722 * blue) / 10_000 * alpha, weight + alpha)
    });
    let ground = if sum < weight * 128 { 255_u32 } else { 0 };
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let Rgba([red, green, blue, alpha]) = *picture.get_pixel(x, y);
        let alpha = u32::from(alpha);
        let laid =
            |level: u8| ((u32::from(level) * alpha + ground * (255 - alpha) + 127) / 255) as u8;
        Rgb([red, green, blue].map(laid))
    })
}
