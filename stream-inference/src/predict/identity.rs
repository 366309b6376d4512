use std::{fmt, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::sha256;

/// Which model answered: enough to repeat the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelIdentity {
    /// What the model is called, such as `base`.
    pub name: String,
    /// The version of the trained weights, such as `1.0`.
    pub version: String,
    /// SHA-256 of the weights file, 64 lower-case hexadecimal digits.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[0-9a-f]{64}$")))]
    pub sha256: String,
}

/// Name and version.
impl fmt::Display for ModelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl ModelIdentity {
    /// A model whose weights are these bytes, such as those of `include_bytes!`.
    pub fn of_bytes(name: &str, version: &str, weights: &[u8]) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), sha256: sha256(weights) }
    }

    /// A model whose weights are in that file.
    ///
    /// # Errors
    /// If the file can't be read; it is named.
    pub fn of_file(name: &str, version: &str, weights: impl AsRef<Path>) -> io::Result<Self> {
        let path = weights.as_ref();
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Ok(Self::of_bytes(name, version, &fs::read(path).map_err(named)?))
    }

    /// A model without weights, such as a rule in code: name and version are all that it is, and so
    /// it is the digest of both that stands for it.
    pub fn of_code(name: &str, version: &str) -> Self {
        Self::of_bytes(name, version, format!("{name} {version}").as_bytes())
    }
}
