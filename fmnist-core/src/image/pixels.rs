//! A picture as the model sees it, and why there is none. Everything else about images leans on this file.

use std::fmt;

use ::image::{ExtendedColorType, ImageEncoder, ImageFormat, codecs::png::PngEncoder};

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

    /// Left and right exchanged.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self::from_fn(|row, column| self.0[row * Self::WIDTH + Self::WIDTH - 1 - column])
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

    /// A grey PNG file of 28×28 pixels; [`decode_upload`](super::decode_upload) gives the same image back.
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

/// Why a picture was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file is longer than allowed; it was not opened.
    #[error("the file has {found} bytes and at most {max_bytes} are taken: send a smaller picture")]
    TooManyBytes {
        /// Its length.
        found: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The picture is larger than allowed, or than [`DECODED_BYTES`](super::DECODED_BYTES) has room for in
    /// its format; it was not decoded.
    #[error(
        "the picture has {width}×{height} pixels and at most {max_pixels} are taken: \
         scale it down"
    )]
    TooManyPixels {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit of columns times rows.
        max_pixels: u64,
    },
    /// The first bytes are of no known format.
    #[error("the file is not a picture: send PNG, JPEG, WebP, BMP or GIF")]
    UnknownFormat,
    /// The first bytes are of a format that is not taken.
    #[error("the file is {name}, which is not taken: send PNG, JPEG, WebP, BMP or GIF")]
    ForeignFormat {
        /// HEIC, AVIF or TIFF.
        name: &'static str,
    },
    /// The format is known and the content is damaged, or ends too early.
    #[error("the {} is damaged: open and save it again", format.to_mime_type())]
    Undecodable {
        /// What the first bytes say.
        format: ImageFormat,
        /// What the decoder says.
        source: ::image::ImageError,
    },
    /// Raw pixels of another number.
    #[error("a raw image has {expected} bytes (28×28 grey), found {found}")]
    Length {
        /// Bytes of an image.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_image_has_its_columns_in_reverse() {
        let image = Image::from_fn(|row, column| (row * 3 + column) as u8);
        let reversed = Image::from_fn(|row, column| (row * 3 + 27 - column) as u8);
        assert_eq!(image.mirrored(), reversed);
        assert_eq!(reversed.mirrored(), image);
    }
}
