use std::{io, ops::RangeInclusive, path::PathBuf};

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
    /// A key that is planned, so that nobody believes it to work.
    #[error("{origin}: {key:?} is not available in this version; remove it")]
    NotAvailable {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: String,
    },
    /// A value of the wrong type or name.
    #[error("{origin}: {key} cannot be used")]
    Value {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What was expected and found.
        source: serde_json::Error,
    },
    /// A number that is too small, too large or has a fraction.
    #[error(
        "{origin}: {key} has to be a whole number from {} to {}, found {found}",
        range.start(),
        range.end()
    )]
    Range {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: &'static str,
        /// The number.
        found: String,
        /// What it may be.
        range: RangeInclusive<u64>,
    },
    /// A name or a choice that its broker does not take.
    #[error("{origin}: {key} has to be {expected}, found {found:?}")]
    Name {
        /// The file or the environment variable.
        origin: String,
        /// The key, dotted.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Two keys that must differ.
    #[error("{key} and {other} are both {found:?}: {reason}")]
    Same {
        /// A key, dotted.
        key: &'static str,
        /// Another.
        other: &'static str,
        /// Their value.
        found: String,
        /// What would come of it.
        reason: &'static str,
    },
    /// Settings of Kafka that exclude one another, or that the delivery promise rests on.
    #[error(transparent)]
    Kafka(#[from] transport_kafka::KafkaSetupError),
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
    /// `PUBSUB_EMULATOR_HOST` is no address.
    #[cfg(feature = "pubsub")]
    #[error(transparent)]
    PubSub(#[from] transport_pubsub::PubSubError),
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |key| format!(" (did you mean {key:?}?)"))
}
