//! What the names of metrics and headers begin with: one prefix for all of a program.
//!
//! | a program that | metrics | headers of dead letters |
//! |---|---|---|
//! | chooses none | `fmnist_stalled` | `fmnist.id` |
//! | chooses `fraud` | `fraud_stalled` | `fraud.id` |

use std::sync::OnceLock;

/// The prefix where a program chooses none. Programs that run have dashboards and readers by it.
pub const DEFAULT_PREFIX: &str = "fmnist";

static PREFIX: OnceLock<Box<str>> = OnceLock::new();

/// Why a prefix is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// It would make no name of a metric.
    #[error(
        "expected a letter, then letters, digits and `_`, all lower-case ASCII, found {found:?}"
    )]
    Invalid {
        /// What was chosen.
        found: String,
    },
    /// Names have been made with another.
    #[error("the prefix {in_use:?} is in use; choose one before anything else is done")]
    InUse {
        /// That prefix.
        in_use: String,
    },
}

/// Chooses the prefix of this process, before any pipeline or transport is made.
///
/// ```
/// use stream_inference::names;
///
/// names::set_prefix("fraud")?;
/// assert_eq!(names::metric("stalled"), "fraud_stalled");
/// assert_eq!(names::header("id"), "fraud.id");
/// # Ok::<(), names::PrefixError>(())
/// ```
///
/// # Errors
/// See [`PrefixError`].
pub fn set_prefix(prefix: &str) -> Result<(), PrefixError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !prefix.starts_with(|c: char| c.is_ascii_lowercase()) || !prefix.chars().all(is_plain) {
        return Err(PrefixError::Invalid { found: prefix.to_owned() });
    }
    match &**PREFIX.get_or_init(|| prefix.into()) {
        same if same == prefix => Ok(()),
        other => Err(PrefixError::InUse { in_use: other.to_owned() }),
    }
}

/// The prefix of this process.
pub fn prefix() -> &'static str {
    PREFIX.get_or_init(|| DEFAULT_PREFIX.into())
}

/// The name of a metric.
pub fn metric(name: &str) -> String {
    format!("{}_{name}", prefix())
}

/// The name of a header.
pub fn header(name: &str) -> String {
    format!("{}.{name}", prefix())
}

/// Says with the present recorder what a counter counts.
pub(crate) fn describe_counter(name: &str, text: &'static str) {
    metrics::describe_counter!(metric(name), text);
}

/// As [`describe_counter`], of a gauge.
pub(crate) fn describe_gauge(name: &str, text: &'static str) {
    metrics::describe_gauge!(metric(name), text);
}

/// As [`describe_counter`], of a histogram.
pub(crate) fn describe_histogram(name: &str, text: &'static str) {
    metrics::describe_histogram!(metric(name), text);
}

/// What the program calls itself to brokers and in traces.
pub fn program() -> String {
    format!("{}-stream", prefix())
}

/// What the inputs of a model are called in names: images where the prefix is the default.
pub fn inputs() -> &'static str {
    if prefix() == DEFAULT_PREFIX { "images" } else { "inputs" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_chosen_before_it_is_used_and_makes_names_of_metrics() {
        for odd in ["", "Fraud", "9", "_a", "a-b", "a.b", "\u{e9}"] {
            let invalid = PrefixError::Invalid { found: odd.to_owned() };
            assert_eq!(set_prefix(odd), Err(invalid));
        }
        assert_eq!(metric("stalled"), "fmnist_stalled");
        assert_eq!(set_prefix("fmnist"), Ok(()));
        let in_use = PrefixError::InUse { in_use: "fmnist".to_owned() };
        assert_eq!(set_prefix("fraud"), Err(in_use));
    }
}
