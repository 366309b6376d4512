//! `config.json`, the environment over it, and what both may say.
//!
//! Layers, strongest first: `FMNIST_SECTION__KEY`, the well-known names (`PORT`,
//! `PUBSUB_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT`, `PUBSUB_EMULATOR_HOST`), the file, the defaults. A
//! name with `_FILE` at its end takes the value from that file, for secrets. A variable that is empty is
//! as good as none.

mod arguments;
mod conflicts;
mod error;
mod layers;
mod links;
mod origins;
mod ranges;
mod sections;
#[cfg(test)]
mod tests;
mod unique;

use std::path::Path;

use fmnist_core::pipeline::{BatchConfig, OnError, PipelineConfig, ResultsConfig};
use layers::Layers;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sink_sql::DatabaseConfig;
use transport_kafka::KafkaConfig;
use transport_pubsub::{Emulator, PubSubConfig};

pub use arguments::ConfigArguments;
pub use error::ConfigError;
pub use origins::Origins;
pub use sections::{DataConfig, ModelConfig, ServerConfig};

/// Everything that can be configured; every key has a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Kafka cluster.
    pub kafka: KafkaConfig,
    /// Google Pub/Sub.
    pub pubsub: PubSubConfig,
    /// The model and what computes it.
    pub model: ModelConfig,
    /// How messages are gathered.
    pub batch: BatchConfig,
    /// What becomes of messages without an answer.
    pub on_error: OnError,
    /// The form of results.
    pub results: ResultsConfig,
    /// The page and the HTTP API.
    pub server: ServerConfig,
    /// The database of results.
    pub database: DatabaseConfig,
    /// The data set.
    pub data: DataConfig,
    /// Where each of the values came from.
    #[serde(skip)]
    pub origins: Origins,
}

impl Config {
    /// Reads `file`, if one is given, and the process's environment.
    ///
    /// # Errors
    /// See [`ConfigError`]: each names the key or variable that is to be changed.
    pub fn from_env(file: Option<&Path>) -> Result<Self, ConfigError> {
        // Variables that are not UTF-8 can't be ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::load(file, variables)
    }

    /// Reads `file`, if one is given, under these variables.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults = serde_json::to_value(Self::default()).expect("defaults are plain data");
        let mut layers = Layers::new(defaults);
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        // Empty is what compose files and CI systems make of a variable that nobody set.
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        // A section comes before the keys in it, and a value before the file that it may be in.
        variables.sort();
        layers.add_variables(&variables)?;
        let Layers { merged, mut origins, .. } = layers;
        ranges::check(&merged, &origins)?;
        let mut config: Self = serde_path_to_error::deserialize(merged).map_err(|error| {
            let key = error.path().to_string();
            let origin = origins.of(&key).to_owned();
            ConfigError::Value { origin, key, source: error.into_inner() }
        })?;
        let named = |wanted| variables.iter().find(|(name, _)| name == wanted);
        if let Some((name, host)) = named("PUBSUB_EMULATOR_HOST") {
            config.pubsub.emulator = Some(Emulator::new(host)?);
            origins.record("pubsub.emulator", name);
        }
        if let Some((name, kernel)) = named("FMNIST_KERNEL") {
            config.model.kernel = Some(kernel.parse().map_err(ConfigError::Kernel)?);
            origins.record("model.kernel", name);
        }
        config.origins = origins;
        conflicts::check(&mut config)?;
        config.server.check()?;
        Ok(config)
    }

    /// What a pipeline takes of this.
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            batch: self.batch.clone(),
            on_error: self.on_error.clone(),
            ..PipelineConfig::default()
        }
    }

    /// The effective configuration as indented JSON, secrets hidden, for a log.
    pub fn shown(&self) -> String {
        let mut value = self.value();
        if let Some(emulator) = &self.pubsub.emulator {
            value["pubsub"]["emulator"] = emulator.endpoint().into();
        }
        format!("{value:#}")
    }

    /// The effective configuration as a file that means the same, secrets hidden.
    pub fn document(&self) -> String {
        format!("{:#}", self.value())
    }

    /// A line for each key with its value, secrets hidden, and where it came from.
    pub fn explained(&self) -> String {
        let mut leaves = Vec::new();
        layers::flatten(self.value(), &mut Vec::new(), &mut leaves);
        let mut lines: Vec<(String, String)> =
            leaves.into_iter().map(|(key, value)| (key.join("."), value.to_string())).collect();
        if let Some(emulator) = &self.pubsub.emulator {
            lines.push(("pubsub.emulator".to_owned(), emulator.endpoint()));
        }
        if let Some(kernel) = self.model.kernel {
            lines.push(("model.kernel".to_owned(), kernel.to_string()));
        }
        let line = |(key, value): (String, String)| {
            let origin = self.origins.of(&key);
            format!("{key} = {value}  # {origin}\n")
        };
        lines.into_iter().map(line).collect()
    }

    /// The JSON Schema of the file, draft 7, with the range of every number.
    #[cfg(feature = "schema")]
    pub fn schema() -> Value {
        let mut schema = fmnist_core::message::schema::read::<Self>();
        let place = |key: &str| format!("/properties/{}", key.replace('.', "/properties/"));
        for (key, range) in ranges::RANGES {
            let number = schema.pointer_mut(&place(key)).expect("every range has its key");
            number["minimum"] = (*range.start()).into();
            number["maximum"] = (*range.end()).into();
        }
        let engines = fmnist_core::Engine::ALL.map(fmnist_core::Engine::name);
        schema.pointer_mut(&place("model.engine")).expect("a key")["enum"] =
            engines.to_vec().into();
        schema
    }

    fn value(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a configuration is plain data");
        hide_secrets(&mut value);
        value["database"]["url"] = self.database.shown_url().into();
        value
    }
}

/// A name with one of these in it is a secret's. All that librdkafka redacts is covered, but for the
/// user's name and the paths of keys.
const SECRET: [&str; 8] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaas",
    "oauthbearer.config",
    ".pem",
];

fn hide_secrets(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        let name = name.to_ascii_lowercase();
        match member {
            Value::Null => {}
            Value::Object(_) => hide_secrets(member),
            _ if SECRET.iter().any(|word| name.contains(word)) => *member = "(hidden)".into(),
            _ => {}
        }
    }
}
