//! The names of the classes of a folder of IDX files: `labels.txt`, one name a line.

use std::{fs, io::ErrorKind, path::Path};

use super::DatasetError;
use crate::{
    label::LABELS,
    text::{self, TextError},
};

const FILE: &str = "labels.txt";
/// As many as a byte can tell apart.
const MOST: usize = 256;

/// Reads the names, or takes the official ones where there is no such file.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<String>, DatasetError> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let text = text::read(&bytes).map_err(|error| {
                let found = match error {
                    TextError::Encoding { encoding } => format!("{encoding}, by its mark"),
                    TextError::Bytes { position } => format!("other bytes from {position} on"),
                };
                DatasetError::content(&path, "text in UTF-8", found)
            })?;
            let names: Vec<String> = text.lines().map(text::name).collect();
            check(&names, &path)?;
            Ok(names)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(LABELS.map(str::to_owned).into()),
        Err(source) => Err(DatasetError::File { path, source }),
    }
}

/// Refuses names that no model could have: fewer than 2 or more than 256, empty ones, twins.
pub(super) fn check(names: &[String], path: &Path) -> Result<(), DatasetError> {
    let refuse = |expected: &str, found| Err(DatasetError::content(path, expected, found));
    if !(2..=MOST).contains(&names.len()) {
        return refuse("2 to 256 classes", names.len().to_string());
    }
    for (class, name) in names.iter().enumerate() {
        if name.is_empty() {
            return refuse("a name for each class", format!("none for class {class}"));
        }
        if names[..class].contains(name) {
            return refuse("a name of its own for each class", format!("{name} twice"));
        }
    }
    Ok(())
}
