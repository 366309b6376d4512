//! What the first bytes of a file say of it, and whether its end is there.

use ::image::ImageFormat;

/// The format of the first bytes, if it is one that is taken.
pub(super) fn taken(bytes: &[u8]) -> Option<ImageFormat> {
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

/// The name of a picture's format that is not taken.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some("TIFF"),
        // ISO 14496-12, 4.3: the length of the box, its name, the brand, a version, more brands.
        [_, _, _, length, b'f', b't', b'y', b'p', ..] => {
            let end = usize::from(*length).clamp(8, bytes.len());
            let (brands, _) = bytes[8..end].as_chunks();
            let any = |names: &[&[u8; 4]]| brands.iter().any(|brand| names.contains(&brand));
            if any(&[b"avif", b"avis"]) {
                Some("AVIF")
            } else if any(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
            {
                Some("HEIC")
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Whether a file goes on to the mark of its end. Decoders read as far as they need and fill what
/// is missing, so that a file that was cut off would be another picture.
///
/// PNG and BMP are not looked at: their decoders miss every byte.
pub(super) fn has_end(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => JpegFrame::of(bytes).is_some(),
        ImageFormat::Gif => gif_end(bytes).is_some(),
        ImageFormat::WebP => {
            bytes.len() as u64
                >= 8 + u64::from(u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
        }
        _ => true,
    }
}

/// What a JPEG's headers say of the memory that it needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JpegFrame {
    /// Whether all coefficients are held until the last scan.
    pub(super) is_buffered: bool,
    /// Coefficients for each pixel, all components together.
    pub(super) samples: f64,
    components: u8,
}

impl JpegFrame {
    /// Walks the markers up to the end of the image (ITU-T T.81, B.1); `None` if there is none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut frame = Self::default();
        let mut rest = bytes;
        loop {
            let at = rest.iter().position(|&byte| byte == 0xff)?;
            rest = &rest[at + 1..];
            match *rest.first()? {
                // Filling, a stuffed byte of the scan, restarts, the start.
                0xff => {}
                0 | 1 | 0xd0..=0xd8 => rest = &rest[1..],
                0xd9 => return Some(frame),
                marker => {
                    let length = usize::from(u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]));
                    let segment = rest.get(3..(1 + length).max(3))?;
                    frame.read(marker, segment);
                    rest = &rest[1 + length.max(2)..];
                }
            }
        }
    }

    fn read(&mut self, marker: u8, segment: &[u8]) {
        match (marker, segment) {
            (0xc0..=0xc2, [_, _, _, _, _, components, rest @ ..]) => {
                let (each, _) = rest.as_chunks::<3>();
                let factors =
                    each.iter().map(|&[_, factors, _]| [factors >> 4, factors & 15].map(f64::from));
                let largest = factors
                    .clone()
                    .fold([1.0_f64; 2], |most, [h, v]| [most[0].max(h), most[1].max(v)]);
                self.samples = factors.map(|[h, v]| h * v / (largest[0] * largest[1])).sum();
                self.components = *components;
                self.is_buffered = marker == 0xc2;
            }
            // A scan of some components leaves the others for later.
            (0xda, [components, ..]) if *components < self.components => self.is_buffered = true,
            _ => {}
        }
    }
}

/// Walks the blocks of a GIF up to its trailer (GIF89a, appendix A).
fn gif_end(bytes: &[u8]) -> Option<()> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) };
    let mut at = 13 + table(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            b';' => return Some(()),
            b'!' => at += 2,
            b',' => at += 11 + table(*bytes.get(at + 9)?),
            // Encoders are known to leave empty blocks behind.
            0 => {
                at += 1;
                continue;
            }
            _ => return None,
        }
        while let length @ 1.. = usize::from(*bytes.get(at)?) {
            at += 1 + length;
        }
        at += 1;
    }
}
