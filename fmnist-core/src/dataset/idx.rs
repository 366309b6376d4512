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
    parse_images(open(path)?).map_err(|fault| fault.of(path))
}

/// Reads a file of classes, each below `classes`.
pub(super) fn labels(path: &Path, classes: usize) -> Result<Vec<u8>, DatasetError> {
    parse_labels(open(path)?, classes).map_err(|fault| fault.of(path))
}

/// What is wrong with a file's content.
#[derive(Debug)]
pub(super) enum Fault {
    Corrupt {
        expected: String,
        found: String,
    },
    /// As sound as it may be, it holds more than this library takes.
    TooMany {
        found: usize,
    },
    Unreadable(io::Error),
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Corrupt { expected: expected.into(), found: found.into() }
    }

    fn of(self, path: &Path) -> DatasetError {
        let path = path.to_owned();
        match self {
            Self::Corrupt { expected, found } => DatasetError::Corrupt { path, expected, found },
            Self::TooMany { found } => DatasetError::Content {
                path,
                expected: format!("at most {MAX_COUNT} images"),
                found: found.to_string(),
            },
            Self::Unreadable(source) => DatasetError::File { path, source },
        }
    }
}

pub(super) fn parse_images(mut file: impl Read) -> Result<Vec<Image>, Fault> {
    let sizes @ [count, rows, columns] = header::<3>(&mut file)?;
    if [rows, columns] != [Image::HEIGHT, Image::WIDTH] {
        return Err(Fault::new("images of 28×28 pixels", format!("{rows}×{columns}")));
    }
    // Not reserved: the header is a claim, and its bytes may not follow.
    let mut images = Vec::new();
    let mut pixels = [0; Image::PIXELS];
    for _ in 0..count {
        let length = fill(&mut file, &mut pixels)?;
        if length < pixels.len() {
            return Err(wrong_length(&sizes, images.len() * Image::PIXELS + length));
        }
        images.push(Image::new(pixels));
    }
    expect_end(file, &sizes)?;
    Ok(images)
}

pub(super) fn parse_labels(mut file: impl Read, classes: usize) -> Result<Vec<u8>, Fault> {
    let sizes @ [count] = header::<1>(&mut file)?;
    let mut labels = vec![0; count];
    let length = fill(&mut file, &mut labels)?;
    if length < count {
        return Err(wrong_length(&sizes, length));
    }
    expect_end(file, &sizes)?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        Some(index) => Err(Fault::new(
            format!("classes below {classes}"),
            format!("{} at index {index}", labels[index]),
        )),
        None => Ok(labels),
    }
}

/// Reads the header: the sizes, of which the first is the count.
fn header<const N: usize>(file: &mut impl Read) -> Result<[usize; N], Fault> {
    let mut bytes = [[0; 4]; 4];
    let bytes = &mut bytes[..1 + N];
    let header_bytes = 4 * bytes.len();
    let found = fill(file, bytes.as_flattened_mut())?;
    if found < header_bytes {
        return Err(Fault::new(
            format!("a header of {header_bytes} bytes"),
            format!("{found} bytes"),
        ));
    }
    let magic = 0x0800 + N as u32;
    let found = u32::from_be_bytes(bytes[0]);
    if found != magic {
        return Err(Fault::new(format!("magic number {magic:#010x}"), format!("{found:#010x}")));
    }
    let sizes: [usize; N] = std::array::from_fn(|i| u32::from_be_bytes(bytes[1 + i]) as usize);
    match sizes[0] {
        0 => Err(Fault::new("1 item or more", "0")),
        count if count > MAX_COUNT => Err(Fault::TooMany { found: count }),
        _ => Ok(sizes),
    }
}

/// Makes sure that nothing follows; what does is counted and not kept.
fn expect_end<const N: usize>(mut file: impl Read, sizes: &[usize; N]) -> Result<(), Fault> {
    match io::copy(&mut file, &mut io::sink()).map_err(unreadable)? {
        0 => Ok(()),
        more => Err(wrong_length(sizes, sizes.iter().product::<usize>() + more as usize)),
    }
}

fn wrong_length<const N: usize>(sizes: &[usize; N], found: usize) -> Fault {
    let sizes = sizes.map(|size| size.to_string()).join("×");
    Fault::new(format!("{sizes} bytes after the header"), format!("{found} bytes"))
}

/// Reads until the buffer is full or the file ends, and answers how much that was.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Fault> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(length)
}

/// What the decompressor or the system says.
fn unreadable(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Fault::new("a complete gzip stream", error.to_string())
        }
        _ => Fault::Unreadable(error),
    }
}

/// Opens a file, through gzip if its first bytes say so.
fn open(path: &Path) -> Result<Box<dyn Read>, DatasetError> {
    let cannot = |source| DatasetError::File { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(cannot)?);
    let gzipped = file.fill_buf().map_err(cannot)?.starts_with(&[0x1f, 0x8b]);
    if !gzipped {
        return Ok(Box::new(file));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))))
}
