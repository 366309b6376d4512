//! Files that people send, decoded within bounds of bytes, pixels and memory; a damaged one is refused, and
//! not guessed at.

use std::{
    io::Cursor,
    sync::{Mutex, PoisonError},
};

use ::image::{
    DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage,
    error::{DecodingError, ImageFormatHint},
    metadata::Orientation,
};
use png::Transformations;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{
    Image, ImageError,
    format::{self, JpegFrame},
    prepare::prepare_small,
    reduction::{Reduction, reduced},
};

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

/// The most memory that decoding a picture takes, beside 16 MiB for its reduced form.
///
/// A JPEG of 50 megapixels, as telephones write it, unpacks to 143 MiB; three in eight of a
/// container's 512 MiB leave the rest of the program its room. A picture that would need more in its
/// format is refused by its size. PNG is read row by row and needs next to nothing.
pub const DECODED_BYTES: u64 = 192 << 20;

/// Above so many bytes, pictures are decoded one at a time, so that many callers need no more memory
/// than [`DECODED_BYTES`] and this for each of them.
const SMALL_BYTES: u64 = 16 << 20;

/// Whether the first bytes are of PNG, JPEG, WebP, BMP or GIF, or of HEIC, AVIF or TIFF, which
/// [`decode_upload`] refuses by name.
pub fn is_picture(bytes: &[u8]) -> bool {
    format::taken(bytes).is_some() || format::foreign(bytes).is_some()
}

/// Decodes a picture file within the default limits and prepares it for the model.
///
/// # Errors
/// See [`ImageError`].
pub fn decode_upload(bytes: &[u8]) -> Result<Image, ImageError> {
    decode_upload_within(bytes, UploadLimits::default())
}

/// Decodes a picture file, the first frame of an animation, upright as its EXIF data says, and
/// [prepares](super::prepare()) it for the model.
///
/// # Errors
/// See [`ImageError`].
pub fn decode_upload_within(bytes: &[u8], limits: UploadLimits) -> Result<Image, ImageError> {
    let UploadLimits { max_bytes, max_pixels } = limits;
    if bytes.len() > max_bytes {
        return Err(ImageError::TooManyBytes { found: bytes.len(), max_bytes });
    }
    let Some(format) = format::taken(bytes) else {
        return Err(match format::foreign(bytes) {
            Some(name) => ImageError::ForeignFormat { name },
            None => ImageError::UnknownFormat,
        });
    };
    let (small, orientation) = match format {
        ImageFormat::Png => from_png(bytes, max_pixels),
        ImageFormat::Jpeg => from_jpeg(bytes, max_pixels),
        _ => from_other(format, bytes, max_pixels),
    }?;
    let mut upright = DynamicImage::from(small);
    upright.apply_orientation(orientation);
    Ok(prepare_small(&upright.into_rgba8()))
}

type Reduced = Result<(RgbaImage, Orientation), ImageError>;

/// Reads row by row, 8 bits a channel: whatever its size, a PNG is never in memory as a whole.
fn from_png(bytes: &[u8], max_pixels: u64) -> Reduced {
    const ROW_BYTES: usize = 16 << 20;
    let damaged = |error: png::DecodingError| damaged(ImageFormat::Png, error.to_string());
    let limits = png::Limits { bytes: ROW_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(damaged)?;
    let (width, height, is_interlaced) = (header.width, header.height, header.interlaced);
    check_pixels(width, height, max_pixels)?;

    let mut reader = decoder.read_info().map_err(damaged)?;
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    let channels = reader.output_color_type().0.samples();
    let mut reduction = Reduction::new(width, height);
    for (row, first, step) in png_rows(width, height, is_interlaced) {
        if let Some(line) = reader.next_interlaced_row().map_err(damaged)? {
            reduction.add(row, first, step, line.data().chunks_exact(channels).map(rgba));
        }
    }
    reader.finish().map_err(damaged)?;
    Ok((reduction.finish(), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Each row of a PNG in the order of the file, with its first column and the step to the next: those
/// of Adam7's seven passes if it is interlaced (PNG, third edition, 8.1).
fn png_rows(width: u32, height: u32, is_interlaced: bool) -> impl Iterator<Item = (u32, u32, u32)> {
    /// First column and row, and the steps to the next.
    const ADAM7: [[u32; 4]; 7] = [
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
    ];
    let passes: &[[u32; 4]] = if is_interlaced { &ADAM7 } else { &[[0, 0, 1, 1]] };
    passes.iter().filter(move |pass| pass[0] < width).flat_map(
        move |&[column, row, right, down]| {
            (row..height).step_by(down as usize).map(move |row| (row, column, right))
        },
    )
}

fn rgba(pixel: &[u8]) -> [u8; 4] {
    match *pixel {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [red, green, blue] => [red, green, blue, 255],
        [red, green, blue, alpha, ..] => [red, green, blue, alpha],
        [] => [0; 4],
    }
}

/// Decodes strictly: `image` would fill what is damaged or missing with grey, and call it success.
fn from_jpeg(bytes: &[u8], max_pixels: u64) -> Reduced {
    let damaged = |reason: String| damaged(ImageFormat::Jpeg, reason);
    let frame = JpegFrame::of(bytes).ok_or_else(|| damaged("it ends too early".to_owned()))?;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| damaged(error.to_string()))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32); // 16 bits each
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (colours, channels) = if is_grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    let held = if frame.is_buffered { 2.0 * frame.samples } else { 0.0 };
    let bytes_per_pixel = channels + held.ceil() as u64;
    let _turn = turn(width, height, max_pixels, bytes_per_pixel)?;

    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode().map_err(|error| damaged(error.to_string()))?;
    let picture = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let picture = picture.ok_or_else(|| damaged("it has other pixels than it says".to_owned()))?;
    Ok((reduced(&picture), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// WebP, BMP and GIF.
fn from_other(format: ImageFormat, bytes: &[u8], max_pixels: u64) -> Reduced {
    let undecodable = |source| ImageError::Undecodable { format, source };
    if !format::has_end(format, bytes) {
        return Err(damaged(format, "it ends too early".to_owned()));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut bounds = Limits::no_limits();
    bounds.max_alloc = Some(DECODED_BYTES / 2);
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    let bytes_per_pixel = match format {
        // Planes of half the pixels in two of three colours, and the result.
        ImageFormat::WebP if bytes.get(12..16) == Some(b"VP8 ") => 5,
        // Frame, canvas and result in four channels, and the planes.
        ImageFormat::WebP => 14,
        // A frame that is not as large as its canvas, and the canvas.
        ImageFormat::Gif => 8,
        _ => 4,
    };
    let _turn = turn(width, height, max_pixels, bytes_per_pixel)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    if format == ImageFormat::Bmp {
        opaque_if_clear(&mut picture);
    }
    Ok((reduced(&picture), orientation))
}

/// Writers of BMP leave alpha at 0 where they mean nothing by it, and every viewer shows those opaque.
fn opaque_if_clear(picture: &mut DynamicImage) {
    if let Some(pixels) = picture.as_mut_rgba8()
        && pixels.pixels().all(|pixel| pixel.0[3] == 0)
    {
        pixels.pixels_mut().for_each(|pixel| pixel.0[3] = 255);
    }
}

fn check_pixels(width: u32, height: u32, max_pixels: u64) -> Result<(), ImageError> {
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(ImageError::TooManyPixels { width, height, max_pixels });
    }
    Ok(())
}

/// Waits until a picture's memory may be taken; refuses one that needs more than there is.
fn turn(
    width: u32,
    height: u32,
    max_pixels: u64,
    bytes_per_pixel: u64,
) -> Result<Option<impl Sized>, ImageError> {
    static LARGE: Mutex<()> = Mutex::new(());
    check_pixels(width, height, max_pixels.min(DECODED_BYTES / bytes_per_pixel))?;
    let needed = u64::from(width) * u64::from(height) * bytes_per_pixel;
    Ok((needed > SMALL_BYTES).then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn damaged(format: ImageFormat, reason: String) -> ImageError {
    let source = DecodingError::new(ImageFormatHint::Exact(format), reason);
    ImageError::Undecodable { format, source: ::image::ImageError::Decoding(source) }
}
