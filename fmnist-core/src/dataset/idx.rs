//! The IDX format: a big-endian header `[0, 0, 8 = u8, dimensions]`, one `u32` for each dimension,
//! then the bytes. <https://yann.lecun.org/exdb/mnist/index.html>

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::{DatasetError, labelled::MAX_COUNT};
use crate::image::Image;

/// A file that is read, and its place, which every refusal names.
pub(super) struct Idx<'p, R> {
    pub(super) file: R,
    pub(super) path: &'p Path,
}

impl<R: Read> Idx<'_, R> {
    /// 28×28 images.
    pub(super) fn images(mut self) -> Result<Vec<Image>, DatasetError> {
        let sizes @ [count, rows, columns] = self.header::<3>()?;
        if [rows, columns] != [Image::HEIGHT, Image::WIDTH] {
            return Err(self.corrupt("images of 28×28 pixels", format!("{rows}×{columns}")));
        }
        // Not reserved: the header is a claim, and its bytes may not follow.
        let mut images = Vec::new();
        let mut pixels = [0; Image::PIXELS];
        for _ in 0..count {
            let length = self.fill(&mut pixels)?;
            if length < pixels.len() {
                return Err(self.wrong_length(&sizes, images.len() * Image::PIXELS + length));
            }
            images.push(Image::new(pixels));
        }
        self.expect_end(&sizes)?;
        Ok(images)
    }

    /// Classes, each below `classes`.
    pub(super) fn labels(mut self, classes: usize) -> Result<Vec<u8>, DatasetError> {
        let sizes @ [count] = self.header::<1>()?;
        let mut labels = vec![0; count];
        let length = self.fill(&mut labels)?;
        if length < count {
            return Err(self.wrong_length(&sizes, length));
        }
        self.expect_end(&sizes)?;
        match labels.iter().position(|&label| usize::from(label) >= classes) {
            Some(index) => {
                let found = format!("{} at index {index}", labels[index]);
                Err(self.corrupt(format!("classes below {classes}"), found))
            }
            None => Ok(labels),
        }
    }

    /// Reads the header: the sizes, of which the first is the count.
    fn header<const N: usize>(&mut self) -> Result<[usize; N], DatasetError> {
        let mut bytes = [[0; 4]; 4];
        let bytes = &mut bytes[..1 + N];
        let header_bytes = 4 * bytes.len();
        let found = self.fill(bytes.as_flattened_mut())?;
        if found < header_bytes {
            let expected = format!("a header of {header_bytes} bytes");
            return Err(self.corrupt(expected, format!("{found} bytes")));
        }
        let magic = 0x0800 + N as u32;
        let found = u32::from_be_bytes(bytes[0]);
        if found != magic {
            let expected = format!("magic number {magic:#010x}");
            return Err(self.corrupt(expected, format!("{found:#010x}")));
        }
        let sizes: [usize; N] = std::array::from_fn(|i| u32::from_be_bytes(bytes[1 + i]) as usize);
        match sizes[0] {
            0 => Err(self.corrupt("1 item or more", "0")),
            // As sound as it may be, it holds more than this library takes.
            count if count > MAX_COUNT => {
                let expected = format!("at most {MAX_COUNT} images");
                Err(DatasetError::content(self.path, expected, count.to_string()))
            }
            _ => Ok(sizes),
        }
    }

    /// Makes sure that nothing follows; what does is counted and not kept.
    fn expect_end<const N: usize>(&mut self, sizes: &[usize; N]) -> Result<(), DatasetError> {
        match io::copy(&mut self.file, &mut io::sink()).map_err(|error| self.unreadable(error))? {
            0 => Ok(()),
            more => Err(self.wrong_length(sizes, sizes.iter().product::<usize>() + more as usize)),
        }
    }

    /// Reads until the buffer is full or the file ends. Returns how much that was.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, DatasetError> {
        let mut length = 0;
        while length < buffer.len() {
            match self.file.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        Ok(length)
    }

    /// What the decompressor or the system says.
    fn unreadable(&self, error: io::Error) -> DatasetError {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if matches!(error.kind(), InvalidInput | InvalidData | UnexpectedEof) {
            return self.corrupt("a complete gzip stream", error.to_string());
        }
        DatasetError::File { path: self.path.to_owned(), source: error }
    }

    fn wrong_length<const N: usize>(&self, sizes: &[usize; N], found: usize) -> DatasetError {
        let sizes = sizes.map(|size| size.to_string()).join("×");
        self.corrupt(format!("{sizes} bytes after the header"), format!("{found} bytes"))
    }

    fn corrupt(&self, expected: impl Into<String>, found: impl Into<String>) -> DatasetError {
        DatasetError::corrupt(self.path, expected, found)
    }
}

/// Opens a file, through gzip if its first bytes say so.
pub(super) fn open(path: &Path) -> Result<Idx<'_, Box<dyn Read>>, DatasetError> {
    let cannot = |source| DatasetError::File { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(cannot)?);
    let gzipped = file.fill_buf().map_err(cannot)?.starts_with(&[0x1f, 0x8b]);
    let file: Box<dyn Read> = if gzipped {
        Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    Ok(Idx { file, path })
}
