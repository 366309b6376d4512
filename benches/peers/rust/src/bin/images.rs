//! Writes the images that all peers get: `images TEST_COUNT TEST_FILE TRAIN_COUNT TRAIN_FILE`.
//!
//! Test images are timed and compared, training images calibrate quantised models. Both are the
//! official ones where fmnist-core finds them (`FMNIST_DATA`), or drawn by it. A file has 784 bytes
//! for each image; standard output says where they came from.

use std::{env, fs};

use anyhow::{Context, ensure};
use fmnist_core::{
    Image,
    dataset::{self, Dataset, DatasetError, Split},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [test_count, test_file, train_count, train_file] = &arguments[..] else {
        anyhow::bail!("expected TEST_COUNT TEST_FILE TRAIN_COUNT TRAIN_FILE");
    };
    let origin = write(Split::Test, test_count, test_file)?;
    let calibration = write(Split::Train, train_count, train_file)?;
    println!("{origin} test images, {calibration} training images");
    Ok(())
}

fn write(split: Split, count: &str, file: &str) -> anyhow::Result<&'static str> {
    let count = count.parse().context("expected a number of images")?;
    let (images, origin) = images(split, count)?;
    ensure!(images.images.len() >= count, "expected {count} images, found {}", images.images.len());
    let bytes: Vec<u8> = images.images[..count].iter().flat_map(|image| *image.pixels()).collect();
    debug_assert_eq!(bytes.len(), count * Image::PIXELS);
    fs::write(file, bytes).with_context(|| file.to_owned())?;
    Ok(origin)
}

/// A folder that was named and lacks the files is an error, not a reason to draw.
fn images(split: Split, count: usize) -> anyhow::Result<(Dataset, &'static str)> {
    match dataset::open(None, split) {
        Err(DatasetError::NotFound { .. }) if env::var_os("FMNIST_DATA").is_none() => {
            Ok((dataset::synthetic(split, count, 0), "synthetic"))
        }
        opened => Ok((opened?, "official")),
    }
}
