use std::{env, io::Cursor};

use ::image::{
    DynamicImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage, imageops,
    imageops::FilterType,
};
use proptest::prelude::*;

use super::*;
use crate::{
    classifier::Classifier,
    dataset::{self, Split},
};

fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A garment that fills the longest edge and has a white pixel, as those of the data set do: a bag
/// with a handle.
fn bag() -> Image {
    Image::from_fn(|row, column| {
        let panel = (12..24).contains(&row);
        let handle = (4..12).contains(&row) && matches!(column, 8..=10 | 17..=19);
        if panel || handle { 113 + (row * 5 + column) as u8 } else { 0 }
    })
}

fn mean_difference(a: &Image, b: &Image) -> f64 {
    let pairs = a.pixels().iter().zip(b.pixels());
    pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / Image::PIXELS as f64
}

/// The ground under a garment.
#[derive(Clone, Copy, Debug)]
struct Scene {
    ground: u8,
    /// Texture: the ground varies by this much up and down.
    texture: u8,
    scale: u32,
    left: u32,
    top: u32,
}

/// Lays a garment on a larger ground: dark on a light one, light on a dark one.
fn photo(garment: &Image, scene: Scene) -> DynamicImage {
    let Scene { ground, texture, scale, left, top } = scene;
    let small = GrayImage::from_raw(28, 28, garment.pixels().to_vec()).unwrap();
    let large = imageops::resize(&small, 28 * scale, 28 * scale, FilterType::Triangle);
    let (width, height) = (large.width() + left + 40, large.height() + top + 25);
    let picture = GrayImage::from_fn(width, height, |x, y| {
        let inside = x >= left && y >= top && x - left < large.width() && y - top < large.height();
        let ink = if inside { i32::from(large.get_pixel(x - left, y - top).0[0]) } else { 0 };
        let base = i32::from(ground);
        let range = if ground >= 128 { -base } else { 255 - base };
        let wave = [-1, 1, 0, 1, -1, 0, 1][((x * 5 + y * 3) % 7) as usize] * i32::from(texture);
        Luma([(base + wave + ink * range / 255).clamp(0, 255) as u8])
    });
    picture.into()
}

#[test]
fn raw_pixels_of_another_length_are_refused() {
    assert_eq!(Image::try_from(&[7; 784][..]).unwrap(), Image::new([7; 784]));
    let error = Image::try_from(&[7; 783][..]).unwrap_err().to_string();
    assert_eq!(error, "a raw image has 784 bytes (28×28 grey), found 783");
}

#[test]
fn a_garment_on_any_ground_comes_back() {
    for (ground, texture) in [(255, 0), (235, 0), (0, 0), (20, 0), (240, 4), (200, 8), (30, 6)] {
        for scale in [2, 5, 8] {
            let scene = Scene { ground, texture, scale, left: 31, top: 3 };
            let found = prepare(&photo(&bag(), scene));
            let difference = mean_difference(&found, &bag());
            assert!(difference < 14.0, "{scene:?}: {difference}");
        }
    }
}

#[test]
fn a_pale_garment_on_an_unevenly_lit_sheet_comes_back_bright() {
    let sheet = GrayImage::from_fn(200, 160, |x, y| {
        let ground = 200 + x / 8 + y / 16;
        let inside = (60..120).contains(&x) && (40..140).contains(&y);
        Luma([(ground - if inside { 50 } else { 0 }) as u8])
    });
    let found = prepare(&sheet.into());
    let expected = Image::from_fn(|_, column| if (5..22).contains(&column) { 255 } else { 0 });
    assert!(mean_difference(&found, &expected) < 20.0, "{found:?}");
    assert!(found.pixels().iter().any(|&pixel| pixel > 240), "{found:?}");
}

#[test]
fn every_format_is_decoded() {
    let scene = Scene { ground: 255, texture: 0, scale: 4, left: 20, top: 10 };
    let photo = photo(&bag(), scene);
    let colour = DynamicImage::ImageRgb8(photo.to_rgb8());
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif]
    {
        let file = encode(&colour, format);
        assert!(is_picture(&file), "{format:?}");
        let difference = mean_difference(&decode_upload(&file).unwrap(), &prepare(&photo));
        let most = if format == ImageFormat::Jpeg { 3.0 } else { 0.5 };
        assert!(difference < most, "{format:?}: {difference}");
    }
}

#[test]
fn the_first_frame_of_an_animation_counts() {
    let frame = |image: &Image| {
        let grey = GrayImage::from_raw(28, 28, image.pixels().to_vec()).unwrap();
        ::image::Frame::new(DynamicImage::from(grey).to_rgba8())
    };
    let mut file = Vec::new();
    let mut encoder = ::image::codecs::gif::GifEncoder::new(&mut file);
    encoder.encode_frames([frame(&bag()), frame(&Image::new([0; 784]))]).unwrap();
    drop(encoder);
    assert!(mean_difference(&decode_upload(&file).unwrap(), &bag()) < 3.0);
}

#[test]
fn exif_orientation_is_honoured() {
    let scene = Scene { ground: 255, texture: 0, scale: 4, left: 20, top: 10 };
    let upright = photo(&bag(), scene);
    let jpeg = encode(&upright.rotate270(), ImageFormat::Jpeg);
    // APP1 with one TIFF entry: tag 0x0112 (orientation), type SHORT, value 6 (turn right by 90°).
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\
                 \x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    assert!(mean_difference(&decode_upload(&turned).unwrap(), &prepare(&upright)) < 3.0);
}

#[test]
fn transparent_ground_is_laid_under_dark_and_light_garments_alike() {
    for luma in [0, 255] {
        let cut_out = ::image::GrayAlphaImage::from_fn(200, 100, |x, y| {
            let opaque = (50..150).contains(&x) && (20..60).contains(&y);
            LumaA([luma, if opaque { 255 } else { 0 }])
        });
        let found = prepare(&cut_out.into());
        let expected = Image::from_fn(|row, _| if (8..19).contains(&row) { 255 } else { 0 });
        assert!(mean_difference(&found, &expected) < 1.0, "luma {luma}");
    }
}

/// A bag of one colour on a ground of another.
fn coloured(ground: [u8; 3], garment: [u8; 3]) -> DynamicImage {
    let small = GrayImage::from_raw(28, 28, bag().pixels().to_vec()).unwrap();
    let large = imageops::resize(&small, 140, 140, FilterType::Triangle);
    let photo = RgbImage::from_fn(210, 190, |x, y| {
        let inside = (30..170).contains(&x) && (20..160).contains(&y);
        let ink =
            if inside { f64::from(large.get_pixel(x - 30, y - 20).0[0]) / 255.0 } else { 0.0 };
        let mixed = |channel: usize| {
            f64::from(ground[channel]) * (1.0 - ink) + f64::from(garment[channel]) * ink
        };
        Rgb([0, 1, 2].map(|channel| mixed(channel).round() as u8))
    });
    photo.into()
}

#[test]
fn a_garment_is_seen_by_how_it_differs_from_its_ground_whatever_the_level() {
    for ground in (0..=255_i32).step_by(5) {
        let (darker, lighter) = (ground - 40, ground + 40);
        for garment in [0, darker, lighter, 255] {
            if !(0..=255).contains(&garment) || (garment - ground).abs() < 40 {
                continue;
            }
            let found = prepare(&coloured([ground as u8; 3], [garment as u8; 3]));
            let difference = mean_difference(&found, &bag());
            assert!(difference < 12.0, "{garment} on {ground}: {difference}");
        }
    }
}

#[test]
fn a_garment_is_seen_on_saturated_grounds() {
    let [red, blue, lawn] = [[200, 30, 30], [30, 60, 200], [60, 140, 50]];
    let [wood, beige, sky] = [[120, 80, 50], [225, 205, 170], [130, 180, 235]];
    for ground in [red, blue, lawn, wood, beige, sky] {
        let mut near = ground;
        near[1] = if near[1] < 128 { near[1] + 40 } else { near[1] - 40 };
        for garment in [[0; 3], [255; 3], near] {
            let difference = mean_difference(&prepare(&coloured(ground, garment)), &bag());
            assert!(difference < 12.0, "{garment:?} on {ground:?}: {difference}");
        }
    }
}

#[test]
fn a_garment_is_seen_on_coarse_patterns() {
    let patterns: [fn(u32, u32) -> u32; 4] = [
        |x, y| (x / 12 + y / 12) % 2,                                 // a check
        |x, y| ((2 * x + y) / 60) % 2,                                // slanting stripes
        |x, y| u32::from(x % 40 < 6 || y % 40 < 6),                   // tiles
        |x, y| u32::from((x + y) % 44 < 7 || (x + 300 - y) % 44 < 7), // a slanting grid
    ];
    for (index, pattern) in patterns.into_iter().enumerate() {
        for (level, garment) in [(60, 200), (130, 20), (130, 240), (220, 60)] {
            let plain = coloured([level; 3], [garment; 3]).to_rgb8();
            let photo = RgbImage::from_fn(plain.width(), plain.height(), |x, y| {
                let Rgb([value, ..]) = *plain.get_pixel(x, y);
                let way = f64::from(garment) - f64::from(level);
                let bare = (f64::from(garment) - f64::from(value)) / way;
                let shown = bare * 24.0 * (f64::from(pattern(x, y)) - 0.5);
                Rgb([(f64::from(value) + shown).round() as u8; 3])
            });
            let difference = mean_difference(&prepare(&photo.into()), &bag());
            assert!(difference < 16.0, "{garment} on {level}, pattern {index}: {difference}");
        }
    }
}

#[test]
fn a_ground_without_a_garment_is_blank() {
    let plain = |x: u32, _: u32| if x % 97 == 5 { [201, 180, 170] } else { [200, 180, 170] };
    let lit = |x: u32, y: u32| [(120 + x / 4 + y / 8) as u8; 3];
    let dark_corners = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) / 150.0 - 1.0, f64::from(y) / 100.0 - 1.0);
        [(180.0 * (1.0 - 0.2 * (x * x + y * y))) as u8; 3]
    };
    let lawn = |x: u32, y: u32| [60, 120 + ((x * 7919 + y * 104_729) % 61) as u8, 40];
    let boards =
        |x: u32, _: u32| if x % 50 < 3 { [60, 40, 25] } else { [125, 85, 55 + (x / 50) as u8] };
    let check = |x: u32, y: u32| [120 + 24 * ((x / 25 + y / 25) % 2) as u8; 3];
    let stripes = |x: u32, y: u32| [120 + 24 * ((2 * x + y) / 70 % 2) as u8; 3];
    let grounds: [fn(u32, u32) -> [u8; 3]; 7] =
        [plain, lit, dark_corners, lawn, boards, check, stripes];
    for (index, ground) in grounds.into_iter().enumerate() {
        let photo = RgbImage::from_fn(300, 200, |x, y| Rgb(ground(x, y)));
        assert!(prepare(&photo.into()).is_blank(), "ground {index}");
    }
}

#[test]
fn what_is_transparent_or_has_no_pixels_to_speak_of_is_blank() {
    let empty = RgbaImage::from_pixel(90, 60, Rgba([200, 10, 10, 0]));
    assert!(prepare(&empty.into()).is_blank());
    assert!(prepare(&GrayImage::new(0, 5).into()).is_blank());
    assert!(prepare(&GrayImage::from_pixel(1, 1, Luma([77])).into()).is_blank());
    assert!(prepare(&GrayImage::from_pixel(28, 28, Luma([3])).into()).is_blank());
}

#[test]
fn raw_pixels_are_blank_if_they_differ_by_no_more_than_noise() {
    let noise = |most: usize| Image::from_fn(|row, column| (100 + (row * 7 + column) % most) as u8);
    assert!(Image::new([255; 784]).is_blank());
    assert!(noise(16).is_blank());
    assert!(!noise(17).is_blank());
    assert!(!bag().is_blank());
}

#[test]
fn with_the_official_files_no_image_is_blank() {
    let Some(test) = official() else { return };
    assert_eq!(test.images.iter().filter(|image| image.is_blank()).count(), 0);
}

/// Files of every format, and their names: an animation among them.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let photo = photo(&bag(), Scene { ground: 235, texture: 4, scale: 4, left: 20, top: 10 });
    let colour = DynamicImage::ImageRgb8(photo.to_rgb8());
    let mut animation = Vec::new();
    let frame = || ::image::Frame::new(colour.to_rgba8());
    let mut encoder = ::image::codecs::gif::GifEncoder::new(&mut animation);
    encoder.encode_frames([frame(), frame()]).unwrap();
    drop(encoder);
    vec![
        ("PNG", encode(&colour, ImageFormat::Png)),
        ("PNG of 16 bits", encode(&photo.to_rgb16().into(), ImageFormat::Png)),
        ("JPEG", encode(&colour, ImageFormat::Jpeg)),
        ("grey JPEG", encode(&photo, ImageFormat::Jpeg)),
        ("progressive JPEG", include_bytes!("../../tests/hostile/progressive.jpg").to_vec()),
        ("WebP", encode(&colour, ImageFormat::WebP)),
        ("BMP", encode(&colour, ImageFormat::Bmp)),
        ("GIF", encode(&colour, ImageFormat::Gif)),
        ("animated GIF", animation),
    ]
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_damaged() {
    for (name, file) in files() {
        assert!(decode_upload(&file).is_ok(), "{name}");
        let tenths = (1..10).map(|tenth| file.len() * tenth / 10);
        for length in tenths.chain([file.len() - 5, file.len() - 1]) {
            let found = decode_upload(&file[..length]);
            let damaged = matches!(found, Err(ImageError::Undecodable { .. }));
            assert!(damaged, "{name}, {length} of {} bytes: {found:?}", file.len());
        }
    }
}

#[test]
fn a_file_whose_rest_was_never_written_is_damaged() {
    for (name, mut file) in files() {
        if ["BMP", "WebP"].contains(&name) {
            continue; // Zeros are pixels, and nothing in the file says otherwise.
        }
        let middle = file.len() / 2;
        file[middle..].fill(0);
        assert!(decode_upload(&file).is_err(), "{name}");
    }
}

#[test]
fn what_follows_the_end_of_a_picture_does_not_harm_it() {
    for (name, file) in files() {
        let longer = [&file[..], &[0; 999], &file[..file.len() / 2]].concat();
        assert_eq!(decode_upload(&longer).unwrap(), decode_upload(&file).unwrap(), "{name}");
    }
}

#[test]
fn a_bitmap_whose_alpha_is_nowhere_set_is_opaque() {
    let mut picture = photo(&bag(), Scene { ground: 240, texture: 0, scale: 4, left: 20, top: 10 });
    let expected = prepare(&picture);
    let mut clear = picture.to_rgba8();
    clear.pixels_mut().for_each(|pixel| pixel.0[3] = 0);
    picture = clear.into();
    assert_eq!(decode_upload(&encode(&picture, ImageFormat::Bmp)).unwrap(), expected);
    assert!(decode_upload(&encode(&picture, ImageFormat::Png)).unwrap().is_blank());
}

#[test]
fn formats_that_are_not_taken_are_refused_by_name() {
    let files: [(&str, &[u8]); 6] = [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"),
        ("AVIF", b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"),
        ("TIFF", b"II*\0\x08\0\0\0"),
        ("TIFF", b"MM\0*\0\0\0\x08"),
    ];
    for (name, file) in files {
        assert!(is_picture(file), "{name}");
        assert_eq!(
            decode_upload(file).unwrap_err().to_string(),
            format!("the file is {name}, which is not taken: send PNG, JPEG, WebP, BMP or GIF")
        );
    }
    let film = decode_upload(b"\0\0\0\x18ftypisom\0\0\0\0isommp42").unwrap_err();
    assert!(matches!(film, ImageError::UnknownFormat), "{film}");
}

#[test]
fn a_decompression_bomb_is_refused_before_it_is_decoded() {
    let bomb = encode(&GrayImage::new(20_000, 20_000).into(), ImageFormat::Png);
    assert!(bomb.len() < 2_000_000);
    let error = decode_upload(&bomb).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the picture has 20000×20000 pixels and at most 50000000 are taken: scale it down"
    );
}

#[test]
fn a_long_file_is_refused_unread() {
    let limits = UploadLimits { max_bytes: 99, ..UploadLimits::default() };
    let error = decode_upload_within(&[0; 100], limits).unwrap_err().to_string();
    assert_eq!(error, "the file has 100 bytes and at most 99 are taken: send a smaller picture");
}

#[test]
fn other_files_and_damaged_pictures_are_told_apart() {
    let text = decode_upload(b"%PDF-1.7").unwrap_err();
    assert!(matches!(text, ImageError::UnknownFormat), "{text}");
    let png = bag().to_png();
    let cut = decode_upload(&png[..png.len() / 2]).unwrap_err();
    assert!(matches!(cut, ImageError::Undecodable { format: ImageFormat::Png, .. }), "{cut}");
    assert!(!is_picture(b"BM, said the text, is no bitmap"));
    assert!(!is_picture(&[0; 784]));
}

/// Official test images, or `None` after a word about how to get them.
fn official() -> Option<dataset::Dataset> {
    if env::var_os("FMNIST_DATA").is_none() {
        println!("skipped: no official files (set FMNIST_DATA)");
        return None;
    }
    Some(dataset::open(None, Split::Test).unwrap())
}

#[test]
fn with_the_official_files_every_png_of_a_test_image_gives_its_pixels() {
    let Some(test) = official() else { return };
    for (index, image) in test.images.iter().enumerate() {
        assert_eq!(&decode_upload(&image.to_png()).unwrap(), image, "image {index}");
    }
}

#[test]
fn with_the_official_files_photos_are_classified_nearly_as_well_as_the_originals() {
    const PHOTOS: usize = 300;
    let Some(test) = official() else { return };
    let scene = |index: usize| {
        let (ground, texture) = [(255, 0), (0, 0), (235, 0), (25, 0), (225, 5), (40, 5)][index % 6];
        let index = index as u32;
        Scene { ground, texture, scale: 2 + index % 7, left: index * 13 % 60, top: index * 7 % 50 }
    };
    let originals = &test.images[..PHOTOS];
    let photos: Vec<Image> =
        originals.iter().enumerate().map(|(i, image)| prepare(&photo(image, scene(i)))).collect();
    let classifier = Classifier::pretrained().unwrap();
    let right = |images: &[Image]| {
        let predictions = classifier.classify(images).unwrap();
        let pairs = predictions.iter().zip(test.labels.iter());
        pairs.filter(|(found, label)| found.class == usize::from(**label)).count()
    };
    let (clean, prepared) = (right(originals), right(&photos));
    println!("of {PHOTOS}: {clean} right as originals, {prepared} right as photos");
    assert!(prepared + PHOTOS * 5 / 100 >= clean, "{prepared} against {clean}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode_upload(&bytes).is_err());
    }

    #[test]
    fn damaged_pictures_never_panic(
        format in prop::sample::select(vec![
            ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp,
            ImageFormat::Gif,
        ]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let scene = Scene { ground: 250, texture: 3, scale: 2, left: 3, top: 2 };
        let colour = DynamicImage::ImageRgb8(photo(&bag(), scene).to_rgb8());
        let mut file = encode(&colour, format);
        for (index, byte) in damage {
            let index = index.index(file.len());
            file[index] = byte;
        }
        let limits = UploadLimits { max_pixels: 1_000_000, ..UploadLimits::default() };
        let _ = decode_upload_within(&file, limits);
    }

    #[test]
    fn small_pictures_of_any_shape_are_prepared(
        width in 1_u32..40, height in 1_u32..40,
        pixels in prop::collection::vec(any::<u8>(), 40 * 40),
    ) {
        let grey = GrayImage::from_raw(width, height, pixels[..(width * height) as usize].to_vec());
        let _ = prepare(&grey.unwrap().into());
    }

    #[test]
    fn a_png_with_a_dark_border_gives_its_pixels(
        pixels in prop::collection::vec(any::<u8>(), 784),
    ) {
        let image = Image::from_fn(|row, column| {
            let border = row == 0 || column == 0 || row == 27 || column == 27;
            if border { 0 } else { pixels[row * 28 + column] }
        });
        prop_assert_eq!(decode_upload(&image.to_png()).unwrap(), image);
    }
}
