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
mod labelled;
mod pictures;
mod search;
mod synthetic;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use labelled::{Dataset, DatasetError, Origin, Split};
pub use search::{SearchPath, cache_folder_from_env};
pub use synthetic::{SYNTHETIC_TEST_IMAGES, synthetic};

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
