use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use fmnist_core::{
    dataset::{self, Split},
    weights::Weights,
};

use crate::{Alone, MIB, mutation::damaged};

const IMAGES: &str = "t10k-images-idx3-ubyte";
const LABELS: &str = "t10k-labels-idx1-ubyte";

fn idx(count: u8) -> (Vec<u8>, Vec<u8>) {
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28];
    images.resize(16 + usize::from(count) * 784, 1);
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
    labels.resize(8 + usize::from(count), 3);
    (images, labels)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(folder: &Path, images: &[u8], labels: &[u8]) {
    fs::write(folder.join(IMAGES), images).unwrap();
    fs::write(folder.join(LABELS), labels).unwrap();
}

#[test]
fn a_gzip_bomb_behind_the_images_is_counted_and_not_kept() {
    let alone = Alone::wait();
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = idx(3);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&images).unwrap();
    let block = vec![0; MIB];
    for _ in 0..512 {
        encoder.write_all(&block).unwrap();
    }
    write(folder.path(), &encoder.finish().unwrap(), &labels);
    let (found, peak) = alone.measured(|| dataset::open(Some(folder.path()), Split::Test));
    let error = found.expect_err("refused").to_string();
    let bytes = 3 * 784 + 512 * MIB;
    assert!(error.contains(&format!("found {bytes} bytes")), "{error}");
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn a_header_that_claims_more_images_than_there_may_be_is_refused_before_they_are_read() {
    let alone = Alone::wait();
    let folder = tempfile::tempdir().unwrap();
    let (mut images, labels) = idx(3);
    images[4..8].copy_from_slice(&1_000_001_u32.to_be_bytes());
    write(folder.path(), &images, &labels);
    let (found, peak) = alone.measured(|| dataset::open(Some(folder.path()), Split::Test));
    let error = found.expect_err("refused").to_string();
    assert!(error.contains("at most 1000000 images"), "{error}");
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn damaged_data_sets_are_read_or_refused() {
    let alone = Alone::wait();
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = idx(3);
    let seeds = [images.clone(), labels.clone(), gzip(&images), gzip(&labels)];
    let mut read = 0;
    damaged(&seeds, 4_000, |_, bytes| {
        let (first, second) = match bytes.len() % 2 {
            0 => (&bytes, &labels),
            _ => (&images, &bytes),
        };
        write(folder.path(), first, second);
        let (found, peak) = alone.measured(|| dataset::open(Some(folder.path()), Split::Test));
        assert!(peak <= 4 * MIB, "{peak} bytes for {bytes:?}");
        read += usize::from(found.is_ok());
    });
    assert!(read > 10, "only {read} could still be read");
}

#[test]
fn damaged_weights_are_read_or_refused_for_a_few_times_their_size() {
    let alone = Alone::wait();
    let tiny = include_bytes!("../../weights/tiny.safetensors").to_vec();
    let header_bytes = usize::try_from(u64::from_le_bytes(tiny[..8].try_into().unwrap())).unwrap();
    // What says how the rest is to be read, with a little of the rest.
    let seeds = [tiny[..8 + header_bytes + 1_000].to_vec()];
    let mut read = 0;
    damaged(&seeds, 3_000, |_, mut bytes| {
        bytes.extend_from_slice(&tiny[seeds[0].len()..]);
        let (found, peak) = alone.measured(|| Weights::from_bytes(&bytes));
        assert!(peak <= 8 * bytes.len() + MIB, "{peak} bytes for {}", bytes.len());
        read += usize::from(found.is_ok());
    });
    println!("{read} of 3000 damaged files could still be read");

    for length in [u64::MAX, u64::MAX / 2, 1 << 40, 100_000_000] {
        let mut bytes = tiny.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let (found, peak) = alone.measured(|| Weights::from_bytes(&bytes));
        assert!(found.is_err() && peak <= MIB, "{peak} bytes for a header of {length}");
    }
}
