//! `config.json`, the environment over it, and what both may say.
//!
//! Layers, strongest first: `FMNIST_SECTION__KEY`, the well-known names (`PORT`,
//! `PUBSUB_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT`, `PUBSUB_EMULATOR_HOST`), the file, the defaults. A
//! name with `_FILE` at its end takes the value from that file, for secrets.

mod error;
mod layers;
mod sections;
#[cfg(test)]
mod tests;

use std::path::Path;

use fmnist_core::pipeline::{BatchConfig, OnError, PipelineConfig, ResultsConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transport_kafka::KafkaConfig;
use transport_pubsub::{Emulator, PubSubConfig};

pub use error::ConfigError;
pub use sections::{DataConfig, ModelConfig, ServerConfig};

/// Everything that can be configured; every key has a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// The data set.
    pub data: DataConfig,
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
        let mut merged = defaults.clone();
        if let Some(path) = file {
            let found = layers::read_json(path)?;
            layers::overlay(&mut merged, found, &defaults, path)?;
        }
        let variables: Vec<_> = variables.into_iter().collect();
        layers::apply_variables(&mut merged, &variables, &defaults)?;
        let mut config: Self =
            serde_json::from_value(merged).map_err(|source| ConfigError::Value { source })?;
        if let Some((_, host)) = variables.iter().find(|(name, _)| name == "PUBSUB_EMULATOR_HOST") {
            config.pubsub.emulator = Some(Emulator::new(host)?);
        }
        if let Some((_, name)) = variables.iter().find(|(name, _)| name == "FMNIST_KERNEL") {
            config.model.kernel = Some(name.parse().map_err(ConfigError::Kernel)?);
        }
        config.server.check()?;
        Ok(config)
    }

    /// What a pipeline takes of this.
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            batch: self.batch.clone(),
            results: self.results.clone(),
            on_error: self.on_error.clone(),
            ..PipelineConfig::default()
        }
    }

    /// The effective configuration as indented JSON, secrets hidden.
    pub fn shown(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a configuration is plain data");
        if let Some(emulator) = &self.pubsub.emulator {
            value["pubsub"]["emulator"] = emulator.endpoint().into();
        }
        hide_secrets(&mut value);
        format!("{value:#}")
    }
}

fn hide_secrets(value: &mut Value) {
    const SECRET: [&str; 6] = ["password", "secret", "token", "credential", "jaas", ".pem"];
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
