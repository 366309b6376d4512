use std::{error::Error, io, path::PathBuf};

use super::Origins;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file, or the file that holds a secret, can't be read.
    #[error("cannot read {}; --print-config shows what a configuration looks like", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        source: serde_json::Error,
    },
    /// A key or a section stands twice: one of the two would be dropped.
    #[error("{origin}: two values for one key")]
    Twice {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted, and where.
        source: serde_json::Error,
    },
    /// Nothing is configured by that name.
    #[error("{origin}: there is no key {key:?}{}", hint(suggestion))]
    UnknownKey {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: String,
        /// The known key that looks most like it.
        suggestion: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{origin}: {key} cannot be used")]
    Value {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What was expected and found.
        source: serde_json::Error,
    },
    /// A value that is none of those that its key may have.
    #[error("{origin}: {key} {rule}")]
    Rule {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What it has to be, and what was found.
        rule: String,
    },
    /// A variable whose value does not fit its key.
    #[error("{variable}: {key} is {expected}, found {found:?}")]
    Variable {
        /// The environment variable.
        variable: String,
        /// The key, dotted.
        key: String,
        /// The kind of value.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Settings of a broker that exclude one another, or that the delivery promise rests on.
    #[error(transparent)]
    Broker(Box<dyn Error + Send + Sync>),
}

impl ConfigError {
    /// What the value of `key` has to be, and what was found, where its own type did not tell.
    pub fn rule(origins: &Origins, key: &str, rule: String) -> Self {
        Self::Rule { origin: origins.of(key).to_owned(), key: key.to_owned(), rule }
    }
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |key| format!(" (did you mean {key:?}?)"))
}
