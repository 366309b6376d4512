//! What is known of files: the digest of what they hold, and how they are written so that nobody reads half.

use std::{fs, io, path::Path};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digits of a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a value as JSON, whole at once.
pub(crate) fn save(value: &impl Serialize, path: &Path) -> io::Result<()> {
    let half = path.with_added_extension("half");
    fs::write(&half, serde_json::to_vec(value)?)?;
    fs::rename(half, path)
}
