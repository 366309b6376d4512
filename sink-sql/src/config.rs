//! The `database` section of the configuration. Its address is shown without the password, wherever it is shown.

use fmnist_core::settings::{WholeOrNull, none_if_empty};
use serde::{Deserialize, Serialize, Serializer};

/// The database of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:results.db`, a file that is made where it is missing, or
    /// `postgres://user:password@host/name`; without it results are not kept.
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hide_password")]
    pub url: Option<String>,
    /// Results older than this are deleted; without it none are.
    #[serde(with = "WholeOrNull::<1, 36_500>")]
    pub retention_days: Option<u32>,
    /// Whether images that messages carry are kept beside their predictions, 784 bytes each.
    pub keep_pictures: bool,
    /// Tells results apart whose messages have the same id: give it a new name when a topic was
    /// made anew under its old one, or when old messages are to be answered again.
    pub run: String,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, retention_days: None, keep_pictures: true, run: String::new() }
    }
}

impl DatabaseConfig {
    /// The address with its password hidden, for logs.
    pub fn shown_url(&self) -> Option<String> {
        self.url.as_deref().map(shown)
    }
}

fn hide_password<S: Serializer>(url: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(shown).serialize(to)
}

pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold an @ that was not escaped: the last one ends it.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    // Parameters may name a password, too.
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    match credentials.map(|credentials| credentials.split(':').next().unwrap_or_default()) {
        Some(user) => format!("{scheme}://{user}:(hidden)@{place}"),
        None => format!("{scheme}://{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_address_has_no_password() {
        for (url, expected) in [
            ("sqlite:results.db", "sqlite:results.db"),
            ("postgres://db/results", "postgres://db/results"),
            ("postgres://me:s3cret@db:5432/results", "postgres://me:(hidden)@db:5432/results"),
            ("postgres://me:s3@cret@db/results", "postgres://me:(hidden)@db/results"),
            ("postgres://db/results?password=s3cret", "postgres://db/results"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
