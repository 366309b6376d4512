//! Fashion-MNIST as IDX files, and a synthetic stand-in.
//!
//! The official four files are looked for, gzipped or not, in
//! 1. the folder that the caller names,
//! 2. the folder in the environment variable `FMNIST_DATA`,
//! 3. `./data/fashion-mnist`,
//! 4. `fashion-mnist` in the user's cache folder, where `training download` puts them.
//!
//! A folder that somebody named (1, 2) is the only one looked into.
//!
//! Data of one's own, of 2 to 256 classes, comes in either of two forms:
//! - the same four IDX files with `labels.txt` beside them, one class name a line;
//! - pictures in folders, `train/CLASS/…` and `test/CLASS/…`, each read as
//!   [`decode_upload`](crate::image::decode_upload) reads an upload. Without `test`, every fifth
//!   picture of each class, from the second on in the order of their names, is for the test.

mod classes;
mod idx;
mod pictures;
mod search;
mod synthetic;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use search::{SearchPath, cache_folder_from_env};
pub use synthetic::{SYNTHETIC_TEST_IMAGES, synthetic};

use crate::image::{Image, ImageError};

/// Images that a split may hold, of 784 bytes each; bounds the memory that a small gzip file can ask
/// for.
const MAX_COUNT: usize = 1_000_000;

/// Labelled images.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The images.
    pub images: Arc<[Image]>,
    /// One class for each image.
    pub labels: Arc<[u8]>,
    /// The class names; the index is the class.
    pub classes: Arc<[String]>,
    /// Where they came from.
    pub origin: Origin,
}

/// Where a data set came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// IDX files or pictures in this folder.
    Files(PathBuf),
    /// Drawn by this library; everything that shows it says `synthetic`.
    Synthetic,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(folder) => write!(f, "{}", folder.display()),
            Self::Synthetic => f.write_str("synthetic"),
        }
    }
}

/// Which part of the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// 60,000 images to learn from.
    Train,
    /// 10,000 images to judge by, and what ranges in messages index.
    Test,
}

impl Split {
    /// The official names of the files of images and of labels, without `.gz`.
    pub const fn file_names(self) -> [&'static str; 2] {
        match self {
            Self::Train => ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
            Self::Test => ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
        }
    }
}

/// Why no data set was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// No folder of the search path has a file of the split.
    #[error(
        "Fashion-MNIST is not in {}: fetch it with `cargo run --release -p training -- download`, \
         or set FMNIST_DATA to the folder that has {}.gz, or pictures in train/CLASS/",
        folders(tried), split.file_names()[0]
    )]
    NotFound {
        /// What was looked for.
        split: Split,
        /// The folders that were tried, in this order.
        tried: Vec<PathBuf>,
    },
    /// A file is absent beside its sibling, or cannot be read.
    #[error("cannot read {}: fetch it again or repair its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{} is damaged: expected {expected}, found {found}; repair it or fetch it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What a sound file has.
        expected: String,
        /// What this file has.
        found: String,
    },
    /// A picture cannot be decoded.
    #[error("cannot take the picture {}: repair or remove it", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: ImageError,
    },
    /// A file or folder of one's own data has not what is needed.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
}

fn folders(tried: &[PathBuf]) -> String {
    let names: Vec<_> = tried.iter().map(|folder| folder.display().to_string()).collect();
    names.join(" nor in ")
}

/// Opens the official files: [`SearchPath::from_env`], then [`SearchPath::open`].
///
/// # Errors
/// See [`DatasetError`].
pub fn open(explicit: Option<&Path>, split: Split) -> Result<Dataset, DatasetError> {
    SearchPath::from_env(explicit).open(split)
}

/// Opens the official test images, or draws [`SYNTHETIC_TEST_IMAGES`] where nobody named a folder
/// and no place has the files.
///
/// # Errors
/// A damaged file, and a named folder without the files, stay errors; see [`DatasetError`].
pub fn open_or_synthetic(explicit: Option<&Path>) -> Result<Dataset, DatasetError> {
    SearchPath::from_env(explicit).open_or_synthetic()
}

#[cfg(test)]
mod tests;
