//! The IDX format: a big-endian header `[0, 0, 8 = u8, dimensions]`, one `u32` for each dimension,
//! then the bytes. <https://yann.lecun.org/exdb/mnist/index.html>

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::{DatasetError, MAX_COUNT};
use crate::image::Image;

/// Reads a file of 28×28 images.
pub(super) fn images(path: &Path) -> Result<Vec<Image>, DatasetError> {
    let bytes = expand(path, 16 + MAX_COUNT * Image::PIXELS)?;
    parse_images(&bytes).map_err(|fault| fault.of(path))
}

/// Reads a file of classes, each below `classes`.
pub(super) fn labels(path: &Path, classes: usize) -> Result<Vec<u8>, DatasetError> {
    let bytes = expand(path, 8 + MAX_COUNT)?;
    parse_labels(&bytes, classes).map_err(|fault| fault.of(path))
}

/// What is wrong with a file's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    expected: String,
    found: String,
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }

    fn of(self, path: &Path) -> DatasetError {
        let Self { expected, found } = self;
        DatasetError::Corrupt { path: path.to_owned(), expected, found }
    }
}

pub(super) fn parse_images(bytes: &[u8]) -> Result<Vec<Image>, Fault> {
    let ([_, rows, columns], pixels) = body::<3>(bytes)?;
    if [rows, columns] != [Image::HEIGHT, Image::WIDTH] {
        return Err(Fault::new("images of 28×28 pixels", format!("{rows}×{columns}")));
    }
    let (images, _) = pixels.as_chunks::<{ Image::PIXELS }>();
    Ok(images.iter().copied().map(Image::new).collect())
}

pub(super) fn parse_labels(bytes: &[u8], classes: usize) -> Result<Vec<u8>, Fault> {
    let (_, labels) = body::<1>(bytes)?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        Some(index) => Err(Fault::new(
            format!("classes below {classes}"),
            format!("{} at index {index}", labels[index]),
        )),
        None => Ok(labels.to_vec()),
    }
}

/// Checks the header against the bytes that follow it; the first dimension is the count.
fn body<const N: usize>(bytes: &[u8]) -> Result<([usize; N], &[u8]), Fault> {
    let header_bytes = 4 + 4 * N;
    let Some((header, body)) = bytes.split_at_checked(header_bytes) else {
        let found = format!("{} bytes", bytes.len());
        return Err(Fault::new(format!("a header of {header_bytes} bytes"), found));
    };
    let (words, _) = header.as_chunks::<4>();
    let magic = 0x0800 + N as u32;
    let found = u32::from_be_bytes(words[0]);
    if found != magic {
        return Err(Fault::new(format!("magic number {magic:#010x}"), format!("{found:#010x}")));
    }
    let sizes: [usize; N] = std::array::from_fn(|i| u32::from_be_bytes(words[1 + i]) as usize);
    if !(1..=MAX_COUNT).contains(&sizes[0]) {
        return Err(Fault::new(format!("1 to {MAX_COUNT} items"), sizes[0].to_string()));
    }
    let size = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if size != Some(body.len()) {
        let sizes = sizes.map(|size| size.to_string()).join("×");
        let found = format!("{} bytes", body.len());
        return Err(Fault::new(format!("{sizes} bytes after the header"), found));
    }
    Ok((sizes, body))
}

/// Reads a file, through gzip if its first bytes say so, up to one byte more than `max_bytes`.
fn expand(path: &Path, max_bytes: usize) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source| DatasetError::File { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let gzipped = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
    let mut bytes = Vec::new();
    let bound = max_bytes as u64 + 1;
    if gzipped {
        let read = MultiGzDecoder::new(file).take(bound).read_to_end(&mut bytes);
        read.map_err(|error| bad_gzip(error, bytes.len()).of(path))?;
    } else {
        file.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() > max_bytes {
        let found = "more".to_owned();
        return Err(Fault::new(format!("at most {max_bytes} bytes"), found).of(path));
    }
    Ok(bytes)
}

fn bad_gzip(error: io::Error, expanded_bytes: usize) -> Fault {
    Fault::new("a complete gzip stream", format!("{error} after {expanded_bytes} expanded bytes"))
}
