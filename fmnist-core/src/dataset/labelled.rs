//! Labelled images, and why there are none. All that opens them leans on this file.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::image::{Image, ImageError};

/// Images that a split may hold, of 784 bytes each; bounds the memory that a small gzip file can ask
/// for.
pub(super) const MAX_COUNT: usize = 1_000_000;

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

impl DatasetError {
    /// What is at this path is not what is needed.
    pub(super) fn content(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Content { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    /// The file at this path is damaged.
    pub(super) fn corrupt(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Corrupt { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}
