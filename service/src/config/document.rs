use std::{error::Error, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use stream_inference::settings::{HIDDEN, RULE};

use super::{
    Added, ConfigError, Origins,
    layers::{self, Layers, Traits},
};

/// A program's configuration: sections of keys, each with a default.
pub trait Document: Default + Serialize + DeserializeOwned {
    /// Why it is refused.
    type Error: From<ConfigError> + Error + Send + Sync + 'static;

    /// Variables that other tools set, too, with their keys; the weakest first.
    const WELL_KNOWN: &[(&str, &str)] = &[
        ("GOOGLE_CLOUD_PROJECT", "pubsub.project_id"),
        ("PUBSUB_PROJECT_ID", "pubsub.project_id"),
    ];
    /// What follows the prefix in variables that are no keys; one that ends in `_` stands for all that
    /// begin so.
    const RESERVED: &[&str] = &["LOG"];

    /// The section whose keys are the program's own, of any type that serde reads.
    const OWN: Option<&str> = None;

    /// Where each value came from.
    fn origins(&self) -> &Origins;

    /// The same, to add what arguments decide.
    fn origins_mut(&mut self) -> &mut Origins;

    /// The brokers that it has no field for.
    fn added(&self) -> &Added {
        const NONE: &Added = &Added::NONE;
        NONE
    }

    /// Puts them in once they are read.
    fn set_added(&mut self, _added: Added) {}

    /// Takes what variables say beside the keys, and refuses values that are well-formed one by one and
    /// yet can't work.
    ///
    /// # Errors
    /// With what is to be changed.
    fn settle(&mut self, variables: &[(String, String)]) -> Result<(), Self::Error>;

    /// Values that only variables have, with what would be their keys.
    fn beside(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reads `file`, if one is given, and the process's environment.
    ///
    /// # Errors
    /// Each names the key or variable that is to be changed.
    fn from_env(file: Option<&Path>) -> Result<Self, Self::Error> {
        Self::from_env_over(Self::default(), file)
    }

    /// As [`Document::from_env`], over these values instead of the defaults.
    ///
    /// # Errors
    /// As [`Document::from_env`].
    fn from_env_over(defaults: Self, file: Option<&Path>) -> Result<Self, Self::Error> {
        // Variables that are not UTF-8 can't be ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::load_over(defaults, file, variables)
    }

    /// Reads `file`, if one is given, under these variables.
    ///
    /// # Errors
    /// As [`Document::from_env`].
    fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Self::Error> {
        Self::load_over(Self::default(), file, variables)
    }

    /// As [`Document::load`], over these values instead of the defaults.
    ///
    /// # Errors
    /// As [`Document::from_env`].
    fn load_over(
        defaults: Self,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Self::Error> {
        // Empty is what compose files and CI systems make of a variable that nobody set.
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        // A section comes before the keys in it, and a value before the file that it may be in.
        variables.sort();
        let mut config = read(&defaults, file, &variables)?;
        config.settle(&variables)?;
        Ok(config)
    }

    /// The effective configuration as indented JSON, secrets hidden, for a log.
    fn shown(&self) -> String {
        let mut value = plain(self);
        for (key, text) in self.beside() {
            let (section, key) = key.split_once('.').expect("every key has a section");
            value[section][key] = text.into();
        }
        format!("{value:#}")
    }

    /// The effective configuration as a file that means the same, secrets hidden.
    fn document(&self) -> String {
        format!("{:#}", plain(self))
    }

    /// A line for each key with its value, secrets hidden, and where it came from.
    fn explained(&self) -> String {
        let mut leaves = Vec::new();
        layers::flatten(plain(self), &mut Vec::new(), &mut leaves);
        let leaves = leaves.into_iter().map(|(key, value)| (key.join("."), value.to_string()));
        let beside = self.beside().into_iter().map(|(key, text)| (key.to_owned(), text));
        let line = |(key, value): (String, String)| {
            let origin = self.origins().of(&key);
            format!("{key} = {value}  # {origin}\n")
        };
        leaves.chain(beside).map(line).collect()
    }
}

/// A document as JSON.
fn value<D: Document>(document: &D) -> Value {
    let mut value = serde_json::to_value(document).expect("a configuration is plain data");
    document.added().write(&mut value);
    value
}

/// A document as JSON, secrets hidden.
fn plain<D: Document>(document: &D) -> Value {
    let mut value = value(document);
    hide_secrets(&mut value);
    value
}

/// The document that is this JSON; of an error, the key.
fn document<D: Document>(
    defaults: &Added,
    mut merged: Value,
) -> Result<D, (String, serde_json::Error)> {
    let added = defaults.read(&mut merged)?;
    let mut document: D = serde_path_to_error::deserialize(merged)
        .map_err(|error| (error.path().to_string(), error.into_inner()))?;
    document.set_added(added);
    Ok(document)
}

/// The document of all layers, with the origins of its values, before it is settled.
fn read<D: Document>(
    defaults: &D,
    file: Option<&Path>,
    variables: &[(String, String)],
) -> Result<D, ConfigError> {
    let added = defaults.added().clone();
    let mut layers = Layers::new(
        value(defaults),
        Traits {
            well_known: D::WELL_KNOWN,
            reserved: D::RESERVED,
            own: D::OWN,
            refused: Box::new(move |merged| {
                document::<D>(&added, merged.clone()).err().map(|(key, _)| key)
            }),
        },
    );
    if let Some(path) = file {
        layers.add_file(path)?;
    }
    layers.add_variables(variables)?;
    let Layers { merged, origins, .. } = layers;
    if let Some(key) = hidden_at(&merged) {
        let rule = format!("{RULE}the secret itself, and not what is printed in its place");
        return Err(ConfigError::rule(&origins, &key, rule));
    }
    let mut config: D = document(defaults.added(), merged).map_err(|(key, source)| {
        // Lists are decided as a whole.
        let origin = origins.of(key.split('[').next().unwrap_or_default()).to_owned();
        match source.to_string() {
            rule if rule.starts_with(RULE) => ConfigError::Rule { origin, key, rule },
            _ => ConfigError::Value { origin, key, source },
        }
    })?;
    *config.origins_mut() = origins;
    Ok(config)
}

/// A name with one of these in it is a secret's where no field says so: in librdkafka's properties, of
/// which all is covered that it redacts, but for the user's name and the paths of keys, and in a program's
/// own section.
const SECRET: [&str; 12] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaas",
    "oauthbearer.config",
    ".pem",
    "api_key",
    "access_key",
    "private_key",
    "dsn",
];

fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_ascii_lowercase();
                let is_secret = SECRET.iter().any(|word| name.contains(word));
                match member {
                    Value::Null => {}
                    Value::Object(_) => hide_secrets(member),
                    _ if is_secret => *member = HIDDEN.into(),
                    _ => hide_secrets(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::String(text) => *text = without_user(text),
        _ => {}
    }
}

/// The first key with what is shown in a secret's place: a file that was printed, or a secret among a
/// program's defaults, which its JSON does not have.
fn hidden_at(document: &Value) -> Option<String> {
    fn is_hidden(value: &Value) -> bool {
        match value {
            Value::String(text) => text == HIDDEN || text.contains(&format!("{HIDDEN}@")),
            Value::Array(items) => items.iter().any(is_hidden),
            Value::Object(members) => members.values().any(is_hidden),
            _ => false,
        }
    }
    let mut leaves = Vec::new();
    layers::flatten(document.clone(), &mut Vec::new(), &mut leaves);
    leaves.into_iter().find(|(_, value)| is_hidden(value)).map(|(key, _)| key.join("."))
}

/// A URL with the user and the password in it hidden; any other text as it is.
fn without_user(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@').filter(|(user, _)| !user.ends_with(HIDDEN))?;
        Some(format!("{scheme}://{HIDDEN}{}", &rest[user.len()..]))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}
