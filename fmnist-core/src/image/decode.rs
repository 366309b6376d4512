//! Files that people send.

use std::io::Cursor;

use ::image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation,
};

use super::{Image, prepare};

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
    /// The picture is larger than allowed; it was not decoded.
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
    /// The format is known and the content is damaged.
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

/// What an upload may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Length of the file in bytes.
    pub max_bytes: usize,
    /// Columns times rows, checked before anything is decoded.
    pub max_pixels: u64,
}

impl Default for UploadLimits {
    /// 16 MiB and 50 megapixels: any telephone's photo.
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_pixels: 50_000_000 }
    }
}

/// Whether the first bytes are of PNG, JPEG, WebP, BMP or GIF.
pub fn is_picture(bytes: &[u8]) -> bool {
    sniff(bytes).is_some()
}

/// Decodes a picture file within the default limits and prepares it for the model.
///
/// # Errors
/// See [`ImageError`].
pub fn decode_upload(bytes: &[u8]) -> Result<Image, ImageError> {
    decode_upload_within(bytes, UploadLimits::default())
}

/// Decodes a picture file, the first frame of an animation, upright as its EXIF data says, and
/// [prepares](prepare()) it for the model.
///
/// # Errors
/// See [`ImageError`].
pub fn decode_upload_within(bytes: &[u8], limits: UploadLimits) -> Result<Image, ImageError> {
    let UploadLimits { max_bytes, max_pixels } = limits;
    if bytes.len() > max_bytes {
        return Err(ImageError::TooManyBytes { found: bytes.len(), max_bytes });
    }
    let format = sniff(bytes).ok_or(ImageError::UnknownFormat)?;
    let undecodable = |source| ImageError::Undecodable { format, source };

    // 16-bit RGBA, the widest pixel of these formats, twice: the decoder's copy and the result.
    let mut bounds = Limits::default();
    bounds.max_alloc = Some(max_pixels.saturating_mul(16).saturating_add(1 << 20));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(ImageError::TooManyPixels { width, height, max_pixels });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    picture.apply_orientation(orientation);
    Ok(prepare(&picture))
}

fn sniff(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        // "BM" alone is two plausible raw pixels: the size of the second header is checked, too.
        [b'B', b'M', rest @ ..]
            if matches!(rest.get(12..16), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])) =>
        {
            Some(ImageFormat::Bmp)
        }
        _ => None,
    }
}
