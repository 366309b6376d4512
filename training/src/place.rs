//! Where results go, looked at before hours are spent on what is to be written there.

use std::{
    fs::{self, File},
    path::Path,
    process,
};

use anyhow::{Context, Result, ensure};

/// Makes sure that a file can be written, or replaced, at a path.
pub(crate) fn expect_file(path: &Path) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let is_folder = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    ensure!(path.file_name().is_some() && !is_folder, "{}: name a file, not a folder", cannot());
    let beside = path.with_added_extension("partial");
    File::create(&beside).and_then(|_| fs::remove_file(&beside)).with_context(cannot)
}

/// Makes sure that files can be written into a folder, which may have to be created.
pub(crate) fn expect_folder(path: &Path) -> Result<()> {
    let existing = path.ancestors().find(|folder| folder.exists());
    let existing = existing.unwrap_or(Path::new("."));
    let beside = existing.join(format!(".{}.partial", process::id()));
    File::create(&beside)
        .and_then(|_| fs::remove_file(&beside))
        .with_context(|| format!("cannot write into {}", path.display()))
}

/// Creates a folder, and all that it is in.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a file: beside its place first, then renamed, so that no reader sees half of it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let beside = path.with_added_extension("partial");
    fs::write(&beside, content)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_can_be_written_are_taken_and_nothing_stays_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "kept").expect("written");
        for good in ["new.safetensors", "file"] {
            expect_file(&at(good)).expect("writable");
        }
        for good in ["", "new", "new/deeper"] {
            expect_folder(&at(good)).expect("writable");
        }
        for bad in ["", "missing/new", "file/new", "new/"] {
            let message = expect_file(&at(bad)).expect_err("refused").to_string();
            assert!(message.starts_with("cannot write "), "{message}");
        }
        for bad in ["file", "file/deeper"] {
            let message = expect_folder(&at(bad)).expect_err("refused").to_string();
            assert!(message.starts_with("cannot write into "), "{message}");
        }
        assert_eq!(fs::read(at("file")).expect("kept"), b"kept");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
