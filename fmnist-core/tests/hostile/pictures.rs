use std::io::{Cursor, Write};

use flate2::{Compression, Crc, write::ZlibEncoder};
use fmnist_core::image::{ImageError, UploadLimits, decode_upload, decode_upload_within};
use image::{DynamicImage, GrayImage, ImageFormat};

use crate::{Alone, MIB, mutation::damaged};

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG that says it has so many pixels, of 8-bit RGBA.
fn png(width: u32, height: u32, between: &[u8], pixels: &[u8]) -> Vec<u8> {
    png_of_depth(8, width, height, between, pixels)
}

fn png_of_depth(depth: u8, width: u32, height: u32, between: &[u8], pixels: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, 6, 0, 0, 0]].concat();
    let parts = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        between.to_vec(),
        chunk(b"IDAT", pixels),
        chunk(b"IEND", b""),
    ];
    parts.concat()
}

fn zlib(zeros: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; MIB];
    for _ in 0..zeros / MIB {
        encoder.write_all(&block).unwrap();
    }
    encoder.write_all(&block[..zeros % MIB]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_picture_of_billions_of_columns_is_refused_for_nothing() {
    let alone = Alone::wait();
    let sizes = [(u32::MAX, 1), (u32::MAX, u32::MAX), (0x7fff_ffff, 1), (0x7fff_ffff, 0x7fff_ffff)];
    let mut pictures: Vec<Vec<u8>> =
        sizes.iter().map(|&(width, height)| png(width, height, b"", &zlib(1_000))).collect();
    let mut bmp = vec![b'B', b'M', 0, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0];
    bmp.extend_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    bmp.extend_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    bmp.extend_from_slice(&[1, 0, 24, 0]);
    bmp.resize(200, 0);
    pictures.push(bmp);
    pictures.push(
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02".to_vec(),
    );
    for picture in pictures {
        let (found, peak) = alone.measured(|| decode_upload(&picture));
        let error = found.expect_err("refused");
        let expected =
            matches!(error, ImageError::TooManyPixels { .. } | ImageError::Undecodable { .. });
        assert!(expected, "{error}");
        assert!(peak <= MIB, "{peak} bytes: {error}");
    }
}

#[test]
fn a_bomb_is_refused_by_its_pixels_before_it_is_unpacked() {
    let alone = Alone::wait();
    let bomb = png(20_000, 20_000, b"", &zlib(64 * MIB));
    assert!(bomb.len() < 100_000);
    let (found, peak) = alone.measured(|| decode_upload(&bomb));
    assert!(matches!(found, Err(ImageError::TooManyPixels { max_pixels: 50_000_000, .. })));
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn pixels_that_say_less_than_they_unpack_to_cost_what_they_say() {
    let alone = Alone::wait();
    let bomb = png(28, 28, b"", &zlib(256 * MIB));
    let (_, peak) = alone.measured(|| decode_upload(&bomb));
    assert!(peak <= 4 * MIB, "{peak} bytes");
}

#[test]
fn what_a_picture_carries_besides_is_bounded_by_its_limits() {
    let alone = Alone::wait();
    let limits = UploadLimits { max_bytes: 16 << 20, max_pixels: 100_000 };
    let profile = [b"p\0\0".to_vec(), zlib(256 * MIB)].concat();
    let text = [b"t\0\0".to_vec(), zlib(256 * MIB)].concat();
    for extra in [chunk(b"iCCP", &profile), chunk(b"zTXt", &text)] {
        let rows = zlib(28 * (1 + 28 * 4));
        let picture = png(28, 28, &extra, &rows);
        let (_, peak) = alone.measured(|| decode_upload_within(&picture, limits));
        assert!(peak <= 8 * MIB, "{peak} bytes");
    }
}

#[test]
fn a_picture_at_the_limit_costs_what_the_limit_allows() {
    let alone = Alone::wait();
    const SIDE: u32 = 1_000;
    let limits = UploadLimits { max_bytes: 16 << 20, max_pixels: u64::from(SIDE * SIDE) };
    let wide = DynamicImage::new_rgba16(SIDE, SIDE);
    let mut bytes = Cursor::new(Vec::new());
    wide.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let (found, peak) = alone.measured(|| decode_upload_within(bytes.get_ref(), limits));
    assert!(found.is_ok());
    assert!(peak <= 16 * MIB, "{peak} bytes");
    let (found, peak) = alone.measured(|| {
        decode_upload_within(bytes.get_ref(), UploadLimits { max_pixels: 999_999, ..limits })
    });
    assert!(matches!(found, Err(ImageError::TooManyPixels { .. })));
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn a_png_of_any_size_and_depth_is_never_in_memory_as_a_whole() {
    let alone = Alone::wait();
    let rows = zlib(5_000 * (1 + 8 * 5_000));
    let bomb = png_of_depth(16, 5_000, 5_000, b"", &rows);
    let (found, peak) = alone.measured(|| decode_upload(&bomb));
    assert!(found.unwrap().is_blank());
    assert!(peak <= 16 * MIB, "{peak} bytes");
}

#[test]
fn large_pictures_are_decoded_one_at_a_time() {
    let alone = Alone::wait();
    let mut file = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(4_000, 3_000).write_to(&mut file, ImageFormat::Jpeg).unwrap();
    let file = file.into_inner();
    let ((), peak) = alone.measured(|| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(decode_upload(&file).unwrap().is_blank()));
            }
        });
    });
    assert!(peak <= 4_000 * 3_000 * 3 + 8 * 16 * MIB, "{peak} bytes");
}

#[test]
fn a_picture_that_needs_more_memory_than_there_is_in_its_format_is_refused_by_its_size() {
    let alone = Alone::wait();
    let mut progressive = include_bytes!("progressive.jpg").to_vec();
    assert!(decode_upload(&progressive).is_ok());
    let size = progressive.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap() + 5;
    progressive[size..size + 4].copy_from_slice(&[0x1b, 0x58, 0x1b, 0x58]); // 7000×7000
    let (found, peak) = alone.measured(|| decode_upload(&progressive));
    assert!(matches!(found, Err(ImageError::TooManyPixels { width: 7_000, .. })), "{found:?}");
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn an_animation_costs_its_first_frame() {
    let alone = Alone::wait();
    let mut file = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
    let frame = || image::Frame::new(image::RgbaImage::new(1_000, 1_000));
    encoder.encode_frames((0..5).map(|_| frame())).unwrap();
    drop(encoder);
    let (found, peak) = alone.measured(|| decode_upload(&file));
    assert!(found.is_ok());
    assert!(peak <= 8 * 1_000_000 + 16 * MIB, "{peak} bytes");
}

#[test]
fn damaged_pictures_are_decoded_or_refused_within_their_limits() {
    let alone = Alone::wait();
    let picture = DynamicImage::ImageLuma8(GrayImage::from_fn(40, 30, |x, y| {
        image::Luma([if (10..25).contains(&x) && (5..25).contains(&y) { 200 } else { 20 }])
    }));
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
    ];
    let seeds = formats.map(|format| {
        let mut bytes = Cursor::new(Vec::new());
        let rgb = DynamicImage::ImageRgb8(picture.to_rgb8());
        rgb.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    });
    let limits = UploadLimits { max_bytes: 1 << 20, max_pixels: 100_000 };
    let mut decoded = 0;
    damaged(&seeds, 10_000, |_, bytes| {
        let (found, peak) = alone.measured(|| decode_upload_within(&bytes, limits));
        assert!(peak <= 8 * MIB, "{peak} bytes for {bytes:?}");
        decoded += usize::from(found.is_ok());
    });
    assert!(decoded > 100, "only {decoded} could still be decoded");
}
