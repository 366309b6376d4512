//! Where the files may lie. A folder that somebody named is the only one looked into.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Dataset, DatasetError, Origin, SYNTHETIC_TEST_IMAGES, Split, classes, idx, pictures, synthetic,
};

/// The folders that may hold the official files, in the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
    named: bool,
}

impl SearchPath {
    /// Looks into one folder and nowhere else.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folders: vec![folder.into()], named: true }
    }

    /// Looks into `explicit`; without it into `FMNIST_DATA`; without both into the usual places.
    pub fn from_env(explicit: Option<&Path>) -> Self {
        if let Some(folder) = explicit {
            return Self::folder(folder);
        }
        if let Some(folder) = env::var_os("FMNIST_DATA").filter(|value| !value.is_empty()) {
            return Self::folder(folder);
        }
        Self::usual_places(cache_folder_from_env())
    }

    /// Looks into `./data/fashion-mnist`, then into `cache`.
    pub fn usual_places(cache: Option<PathBuf>) -> Self {
        let local = Path::new("data").join("fashion-mnist");
        Self { folders: [local].into_iter().chain(cache).collect(), named: false }
    }

    /// Opens the split in the first folder that has any of its files, or pictures in folders.
    ///
    /// # Errors
    /// See [`DatasetError`].
    pub fn open(&self, split: Split) -> Result<Dataset, DatasetError> {
        let names = split.file_names();
        let folder = self
            .folders
            .iter()
            .find(|folder| has_files(folder, names) || pictures::are_in(folder))
            .ok_or_else(|| DatasetError::NotFound { split, tried: self.folders.clone() })?;
        if !has_files(folder, names) {
            return pictures::open(folder, split);
        }
        let [images_path, labels_path] = names.map(|name| plain_or_gzip(folder, name));
        let classes = classes::of_folder(folder)?;
        let images = idx::open(&images_path)?.images()?;
        let labels = idx::open(&labels_path)?.labels(classes.len())?;
        if labels.len() != images.len() {
            let expected = format!("one label for each of {} images", images.len());
            let found = format!("{} labels", labels.len());
            return Err(DatasetError::corrupt(&labels_path, expected, found));
        }
        Ok(Dataset {
            images: images.into(),
            labels: Arc::from(labels),
            classes: classes.into(),
            origin: Origin::Files(folder.clone()),
        })
    }

    /// Opens the test images, or draws them where nobody named a folder and no place has them.
    ///
    /// # Errors
    /// As [`super::open_or_synthetic`].
    pub fn open_or_synthetic(&self) -> Result<Dataset, DatasetError> {
        match self.open(Split::Test) {
            Err(DatasetError::NotFound { .. }) if !self.named => {
                Ok(synthetic(Split::Test, SYNTHETIC_TEST_IMAGES, 0))
            }
            opened => opened,
        }
    }
}

/// Whether any of the files is there.
fn has_files(folder: &Path, names: [&str; 2]) -> bool {
    names.iter().any(|name| plain_or_gzip(folder, name).exists())
}

/// The plain file if it is there, else the name of the gzipped one.
fn plain_or_gzip(folder: &Path, name: &str) -> PathBuf {
    let plain = folder.join(name);
    if plain.exists() { plain } else { folder.join(format!("{name}.gz")) }
}

/// `fashion-mnist` in the user's cache folder; `None` where the environment names no home.
pub fn cache_folder_from_env() -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| match env::consts::OS {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => folder("HOME").map(|home| home.join("Library").join("Caches")),
        _ => folder("HOME").map(|home| home.join(".cache")),
    })?;
    Some(cache.join("fmnist-stream").join("fashion-mnist"))
}
