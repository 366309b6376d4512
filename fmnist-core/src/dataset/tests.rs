use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::image::Image;

mod learnability;
mod own;

/// What a file of these bytes is read as.
fn idx(file: &[u8]) -> idx::Idx<'static, &[u8]> {
    idx::Idx { file, path: Path::new("a file") }
}

fn header(magic: u32, sizes: &[u32]) -> Vec<u8> {
    [magic].iter().chain(sizes).flat_map(|word| word.to_be_bytes()).collect()
}

fn images_file(count: u32) -> Vec<u8> {
    let pixels = (0..count as usize * Image::PIXELS).map(|i| (i % 251) as u8);
    header(0x803, &[count, 28, 28]).into_iter().chain(pixels).collect()
}

fn labels_file(labels: &[u8]) -> Vec<u8> {
    [header(0x801, &[labels.len() as u32]), labels.to_vec()].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with the two files of the test split.
fn folder(suffix: &str, images: &[u8], labels: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in Split::Test.file_names().iter().zip([images, labels]) {
        fs::write(folder.path().join(format!("{name}{suffix}")), content).unwrap();
    }
    folder
}

fn refusal(suffix: &str, images: &[u8], labels: &[u8]) -> String {
    let folder = folder(suffix, images, labels);
    let error = SearchPath::folder(folder.path()).open(Split::Test).unwrap_err();
    assert!(matches!(error, DatasetError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&*folder.path().to_string_lossy()), "{text}");
    text
}

#[test]
fn plain_and_gzipped_files_give_the_same_images() {
    let (images, labels) = (images_file(3), labels_file(&[9, 0, 5]));
    let plain = folder("", &images, &labels);
    let gzipped = folder(".gz", &gzip(&images), &gzip(&labels));
    for folder in [plain, gzipped] {
        let opened = SearchPath::folder(folder.path()).open(Split::Test).unwrap();
        assert_eq!(opened.labels[..], [9, 0, 5]);
        assert_eq!(opened.images.len(), 3);
        assert_eq!(opened.images[2].pixels()[..], images[16 + 2 * Image::PIXELS..]);
        assert_eq!(opened.origin, Origin::Files(folder.path().to_owned()));
    }
}

#[test]
fn a_damaged_file_is_refused_with_what_was_expected_and_found() {
    let (images, labels) = (images_file(2), labels_file(&[1, 2]));
    let long = [images.clone(), vec![0]].concat();
    let wrong_size = [header(0x803, &[2, 27, 28]), vec![0; 2 * 27 * 28]].concat();
    let cases = [
        (images[..10].to_vec(), "expected a header of 16 bytes, found 10 bytes"),
        (labels.clone(), "expected a header of 16 bytes, found 10 bytes"),
        (
            images[..images.len() - 1].to_vec(),
            "expected 2×28×28 bytes after the header, found 1567",
        ),
        (long, "expected 2×28×28 bytes after the header, found 1569"),
        (wrong_size, "expected images of 28×28 pixels, found 27×28"),
        (header(0x803, &[0, 28, 28]), "expected 1 item or more, found 0"),
        (header(0x803, &[2, u32::MAX, u32::MAX]), "28×28 pixels, found 4294967295×4294967295"),
        (
            [header(0x801, &[784]), vec![0; 784]].concat(),
            "magic number 0x00000803, found 0x00000801",
        ),
        (images_file(3), "expected one label for each of 3 images, found 2 labels"),
    ];
    for (damaged, text) in cases {
        let (plain, gzipped) =
            (refusal("", &damaged, &labels), refusal(".gz", &gzip(&damaged), &gzip(&labels)));
        assert!(plain.contains(text), "{plain}");
        assert!(gzipped.contains(text), "{gzipped}");
    }
}

#[test]
fn a_label_that_is_no_class_is_refused() {
    let text = refusal("", &images_file(2), &labels_file(&[1, 10]));
    assert!(text.contains("expected classes below 10, found 10 at index 1"), "{text}");
}

#[test]
fn a_truncated_gzip_file_is_refused() {
    let gzipped = gzip(&images_file(2));
    let text = refusal(".gz", &gzipped[..gzipped.len() - 9], &gzip(&labels_file(&[1, 2])));
    assert!(text.contains("expected a complete gzip stream"), "{text}");
}

#[test]
fn a_gzip_bomb_keeps_no_more_than_its_header_says() {
    let bomb = [header(0x803, &[1, 28, 28]), vec![0; 90_000_000]].concat();
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 1_000_000);
    let text = refusal(".gz", &bomb, &gzip(&labels_file(&[1])));
    assert!(text.contains("1×28×28 bytes after the header, found 90000000 bytes"), "{text}");
}

#[test]
fn more_images_than_are_taken_are_no_damage() {
    let too_many = header(0x803, &[1_000_001, 28, 28]);
    let folder = folder(".gz", &gzip(&too_many), &gzip(&labels_file(&[1])));
    let error = SearchPath::folder(folder.path()).open(Split::Test).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("expected at most 1000000 images, found 1000001"), "{text}");
}

#[test]
fn as_many_images_as_the_largest_kin_of_fashion_mnist_are_read() {
    // Kuzushiji-49 has 232,365 training images, EMNIST's letters 124,800.
    let count = 124_800;
    let images = [header(0x803, &[count, 28, 28]), vec![7; count as usize * Image::PIXELS]];
    let labels = labels_file(&vec![3; count as usize]);
    let folder = folder(".gz", &gzip(&images.concat()), &gzip(&labels));
    let data = SearchPath::folder(folder.path()).open(Split::Test).unwrap();
    assert_eq!((data.images.len(), data.labels.len()), (124_800, 124_800));
    assert_eq!(data.images[124_799].pixels(), &[7; Image::PIXELS]);
}

#[test]
fn a_missing_sibling_is_named() {
    let folder = folder("", &images_file(1), &labels_file(&[1]));
    fs::remove_file(folder.path().join(Split::Test.file_names()[1])).unwrap();
    let error = SearchPath::folder(folder.path()).open(Split::Test).unwrap_err().to_string();
    assert!(error.contains("t10k-labels-idx1-ubyte"), "{error}");
}

#[test]
fn absence_lists_the_places_and_the_ways_out() {
    let cache = PathBuf::from("/nowhere/cache");
    let search = SearchPath::usual_places(Some(cache));
    let text = search.open(Split::Train).unwrap_err().to_string();
    let local = Path::new("data").join("fashion-mnist");
    for part in [
        &*local.to_string_lossy(),
        "/nowhere/cache",
        "cargo run --release -p training -- download",
        "FMNIST_DATA",
        "train-images-idx3-ubyte.gz",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn only_absence_from_the_usual_places_leads_to_synthetic_images() {
    let empty = TempDir::new().unwrap();
    let damaged = folder("", &images_file(2)[..99], &labels_file(&[1, 2]));
    let usual = |folder: &TempDir| SearchPath::usual_places(Some(folder.path().to_owned()));

    let drawn = usual(&empty).open_or_synthetic().unwrap();
    assert_eq!((drawn.origin, drawn.images.len()), (Origin::Synthetic, SYNTHETIC_TEST_IMAGES));
    let named = SearchPath::folder(empty.path()).open_or_synthetic();
    assert!(matches!(named, Err(DatasetError::NotFound { .. })));
    let broken = usual(&damaged).open_or_synthetic();
    assert!(matches!(broken, Err(DatasetError::Corrupt { .. })));
}

#[test]
fn an_explicit_folder_comes_before_the_environment() {
    let folder = folder("", &images_file(1), &labels_file(&[7]));
    assert_eq!(open(Some(folder.path()), Split::Test).unwrap().labels[..], [7]);
}

#[test]
fn with_the_official_files_both_splits_are_complete_and_balanced() {
    if env::var_os("FMNIST_DATA").is_none() {
        println!("skipped: no official files (set FMNIST_DATA)");
        return;
    }
    for (split, count) in [(Split::Train, 60_000), (Split::Test, 10_000)] {
        let data = open(None, split).unwrap();
        assert_eq!((data.images.len(), data.labels.len()), (count, count));
        for class in 0..10 {
            let images = data.labels.iter().filter(|&&label| label == class).count();
            assert_eq!(images, count / 10);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_an_error_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        prop_assert!(idx(&bytes).images().is_err());
        prop_assert!(idx(&bytes).labels(10).is_err());
    }

    #[test]
    fn arbitrary_sizes_are_an_error_and_never_a_panic(
        sizes: [u32; 3], body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let images = [header(0x803, &sizes), body.clone()].concat();
        prop_assert!(idx(&images).images().is_err());
        let labels = [header(0x801, &sizes[..1]), body.clone()].concat();
        if let Ok(labels) = idx(&labels).labels(256) {
            prop_assert_eq!(labels, body);
        }
    }
}
