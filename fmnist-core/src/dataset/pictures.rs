//! Pictures in folders: `train/CLASS/…` and, if there is one, `test/CLASS/…`.
//!
//! The classes are the folders of `train` in the order of their names, which are compared in one Unicode
//! form. Without `test`, every fifth picture of each class, from the second on in the order of their names, is
//! for the test.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use super::{Dataset, DatasetError, Origin, Split, classes, labelled::MAX_COUNT};
use crate::{
    image::{Image, UploadLimits, decode_upload},
    text,
};

/// Without a folder for the test, one in so many pictures of a class is for it.
const TEST_ONE_IN: usize = 5;

/// Whether a folder is laid out like this.
pub(super) fn are_in(folder: &Path) -> bool {
    folder.join("train").is_dir()
}

/// Reads one split, each picture as [`decode_upload`] makes it.
pub(super) fn open(folder: &Path, split: Split) -> Result<Dataset, DatasetError> {
    let train = folder.join("train");
    let (names, mut folders) = class_folders(&train)?;
    classes::check(&names, &train)?;

    let test = folder.join("test");
    let own_test = test.is_dir();
    let place = if own_test && split == Split::Test { &test } else { &train };
    if own_test {
        let (found, test_folders) = class_folders(&test)?;
        expect_same_classes(&names, &found, &test)?;
        if split == Split::Test {
            folders = test_folders;
        }
    }
    let mut files: Vec<(u8, PathBuf)> = Vec::new();
    for (class, folder) in (0..=u8::MAX).zip(folders) {
        let all = entries(&folder)?;
        let least = if own_test { 1 } else { 2 };
        if all.len() < least {
            let (expected, found) = (format!("{least} pictures or more"), all.len().to_string());
            return Err(DatasetError::content(&folder, expected, found));
        }
        let chosen = all.into_iter().enumerate().filter(|(position, _)| {
            own_test || (position % TEST_ONE_IN == 1) == (split == Split::Test)
        });
        files.extend(chosen.map(|(_, path)| (class, path)));
    }
    if files.len() > MAX_COUNT {
        let (expected, found) = (format!("at most {MAX_COUNT} pictures"), files.len().to_string());
        return Err(DatasetError::content(place, expected, found));
    }
    Ok(Dataset {
        images: read_all(&files)?.into(),
        labels: files.iter().map(|(class, _)| *class).collect(),
        classes: names.into(),
        origin: Origin::Files(folder.to_owned()),
    })
}

/// What a folder holds but for hidden entries, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let unreadable = |source| DatasetError::File { path: folder.to_owned(), source };
    let all = fs::read_dir(folder).map_err(unreadable)?;
    let paths: io::Result<Vec<PathBuf>> = all.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(unreadable)?;
    let hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| !hidden(path));
    paths.sort();
    Ok(paths)
}

/// The classes of a folder in the order of their names, and the folder of each.
fn class_folders(place: &Path) -> Result<(Vec<String>, Vec<PathBuf>), DatasetError> {
    let folders = entries(place)?.into_iter().filter(|path| path.is_dir());
    let named = folders.map(|path| Ok((name(&path)?, path)));
    let mut named: Vec<(String, PathBuf)> = named.collect::<Result<_, _>>()?;
    named.sort();
    Ok(named.into_iter().unzip())
}

fn name(path: &Path) -> Result<String, DatasetError> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(text::name(name)),
        None => Err(DatasetError::content(path, "a class name in UTF-8", "other bytes")),
    }
}

fn expect_same_classes(
    names: &[String],
    found: &[String],
    test: &Path,
) -> Result<(), DatasetError> {
    if found == names {
        return Ok(());
    }
    let expected = format!("the classes of `train`, {}", names.join(", "));
    let differences = text::differences(names, found);
    let found = format!("{}: {differences}", found.join(", "));
    Err(DatasetError::content(test, expected, found))
}

/// Reads on all cores, because photos take a tenth of a second each.
fn read_all(files: &[(u8, PathBuf)]) -> Result<Vec<Image>, DatasetError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let read_some = |files: &[(u8, PathBuf)]| -> Result<Vec<Image>, DatasetError> {
            files.iter().map(|(_, path)| read(path)).collect()
        };
        let threads: Vec<_> =
            files.chunks(share).map(|some| scope.spawn(move || read_some(some))).collect();
        let parts = threads.into_iter().map(|t| t.join().expect("decoders do not panic"));
        let parts: Vec<Vec<Image>> = parts.collect::<Result<_, _>>()?;
        Ok(parts.concat())
    })
}

fn read(path: &Path) -> Result<Image, DatasetError> {
    let unreadable = |source| DatasetError::File { path: path.to_owned(), source };
    let other = |expected, found| Err(DatasetError::content(path, expected, found));
    if path.is_dir() {
        return other("a picture", "a folder");
    }
    // One byte above the limit is enough for the decoder to refuse the file.
    let most = UploadLimits::default().max_bytes as u64 + 1;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    let image = decode_upload(&bytes)
        .map_err(|source| DatasetError::Picture { path: path.to_owned(), source })?;
    if image.is_blank() {
        return other("something that stands out from its ground", "a plain picture");
    }
    Ok(image)
}
