//! Pictures as the model sees them: 28×28 grey, 0 = background.

mod decode;
mod format;
mod garment;
mod ground;
mod lines;
mod pattern;
mod prepare;
mod reduction;

use std::fmt;

use ::image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

pub use decode::{
    DECODED_BYTES, ImageError, UploadLimits, decode_upload, decode_upload_within, is_picture,
};
pub use prepare::prepare;

/// One 28×28 grey picture, row-major, `u8`, 0 = background, 255 = brightest garment.
#[derive(Clone, PartialEq, Eq)]
pub struct Image([u8; Image::PIXELS]);

impl Image {
    /// Columns of an image.
    pub const WIDTH: usize = 28;
    /// Rows of an image.
    pub const HEIGHT: usize = 28;
    /// Pixels of an image, and bytes of its raw form.
    pub const PIXELS: usize = Self::WIDTH * Self::HEIGHT;

    /// Takes row-major pixels as they are.
    pub const fn new(pixels: [u8; Self::PIXELS]) -> Self {
        Self(pixels)
    }

    /// Asks for the brightness of each pixel by its row and column, from the top left.
    pub fn from_fn(mut brightness: impl FnMut(usize, usize) -> u8) -> Self {
        Self(std::array::from_fn(|i| brightness(i / Self::WIDTH, i % Self::WIDTH)))
    }

    /// The row-major pixels.
    pub const fn pixels(&self) -> &[u8; Self::PIXELS] {
        &self.0
    }

    /// Whether there is nothing to see: no pixel differs from another by more than noise.
    ///
    /// A class is the most probable one of a blank image, too, and means nothing.
    pub fn is_blank(&self) -> bool {
        /// Every one of the data set's 70,000 images has a pixel that differs from the first by 239 or more.
        const NOISE: u8 = 15;
        let differs = |block: &[u8; 56]| {
            let most = block.iter().fold(0, |most, pixel| most.max(pixel.abs_diff(self.0[0])));
            most > NOISE
        };
        !self.0.as_chunks().0.iter().any(differs)
    }

    /// A grey PNG file of 28×28 pixels; [`decode_upload`] gives the same image back.
    pub fn to_png(&self) -> Vec<u8> {
        grey_png(&self.0, Self::WIDTH)
    }
}

/// A grey PNG file of images side by side, `columns` a row; the rest of the last row is background.
///
/// # Panics
/// If there are no images or no columns.
pub fn sheet_png(images: &[Image], columns: usize) -> Vec<u8> {
    let width = columns * Image::WIDTH;
    let mut pixels = vec![0; images.len().div_ceil(columns) * Image::HEIGHT * width];
    for (position, image) in images.iter().enumerate() {
        let corner = position / columns * Image::HEIGHT * width + position % columns * Image::WIDTH;
        for (row, line) in image.0.chunks_exact(Image::WIDTH).enumerate() {
            let at = corner + row * width;
            pixels[at..at + Image::WIDTH].copy_from_slice(line);
        }
    }
    grey_png(&pixels, width)
}

fn grey_png(pixels: &[u8], width: usize) -> Vec<u8> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, width as u32, (pixels.len() / width) as u32, ExtendedColorType::L8)
        .expect("whole rows are a grey picture, and memory takes any write");
    png
}

/// Takes the raw form: exactly 784 bytes.
impl TryFrom<&[u8]> for Image {
    type Error = ImageError;

    fn try_from(raw: &[u8]) -> Result<Self, ImageError> {
        let wrong = |_| ImageError::Length { expected: Self::PIXELS, found: raw.len() };
        raw.try_into().map(Self).map_err(wrong)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ink = self.0.iter().filter(|&&p| p != 0).count();
        write!(f, "Image({ink} of {} pixels are not background)", Self::PIXELS)
    }
}

#[cfg(test)]
mod tests;
