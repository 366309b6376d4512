//! `config.json`, the environment over it, and what both may say: see [`service::config`] for the layers.
//! The well-known names are `PORT`, `PUBSUB_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT` and
//! `PUBSUB_EMULATOR_HOST`.

mod error;
mod sections;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fmnist_core::pipeline::{BatchConfig, OnError, PipelineConfig, ResultsConfig};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use service::{
    Broker,
    config::{Added, Document, Origins},
    emulator_from,
};
use sink_sql::DatabaseConfig;
use transport_kafka::KafkaConfig;
use transport_pubsub::PubSubConfig;

pub use error::ConfigError;
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
    /// Brokers of sections that are added to these.
    #[serde(skip)]
    pub added: Added,
    /// Where each of the values came from.
    #[serde(skip)]
    pub origins: Origins,
}

impl Document for Config {
    type Error = ConfigError;

    const WELL_KNOWN: &[(&str, &str)] = &[
        ("GOOGLE_CLOUD_PROJECT", "pubsub.project_id"),
        ("PUBSUB_PROJECT_ID", "pubsub.project_id"),
        ("PORT", "server.port"),
    ];
    /// What libraries, tests and benchmarks read.
    const RESERVED: &[&str] = &["DATA", "KERNEL", "LOG", "TEST_", "BENCH_"];

    fn origins(&self) -> &Origins {
        &self.origins
    }

    fn origins_mut(&mut self) -> &mut Origins {
        &mut self.origins
    }

    fn added(&self) -> &Added {
        &self.added
    }

    fn set_added(&mut self, added: Added) {
        self.added = added;
    }

    fn settle(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        let Self { pubsub, model, origins, .. } = self;
        emulator_from(variables, pubsub, origins)?;
        if let Some((name, kernel)) = variables.iter().find(|(name, _)| name == "FMNIST_KERNEL") {
            model.kernel = Some(kernel.parse().map_err(ConfigError::Kernel)?);
            origins.record("model.kernel", name);
        }
        self.brokers().iter().try_for_each(|broker| broker.check(&self.origins))?;
        self.server.check()
    }

    fn beside(&self) -> Vec<(&'static str, String)> {
        let emulator = self.pubsub.emulator.as_ref().map(|emulator| emulator.endpoint());
        let kernel = self.model.kernel.map(|kernel| kernel.to_string());
        let beside = [("pubsub.emulator", emulator), ("model.kernel", kernel)];
        beside.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }
}

impl Config {
    /// Adds a broker: its section, its button, its results, and all that is looked for, made and sent again.
    #[must_use]
    pub fn with_broker(self, broker: impl Broker + Serialize + DeserializeOwned) -> Self {
        Self { added: self.added.with(broker), ..self }
    }

    /// The brokers that the programs know, as they are configured.
    pub fn brokers(&self) -> Vec<Arc<dyn Broker>> {
        let known: [Arc<dyn Broker>; 2] =
            [Arc::new(self.kafka.clone()), Arc::new(self.pubsub.clone())];
        known.into_iter().chain(self.added.brokers()).collect()
    }

    /// What a pipeline takes of this.
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            batch: self.batch.clone(),
            on_error: self.on_error.clone(),
            ..PipelineConfig::default()
        }
    }

    /// The JSON Schema of the file, draft 7, with the range of every number.
    #[cfg(feature = "schema")]
    pub fn schema() -> serde_json::Value {
        fmnist_core::message::schema::read::<Self>()
    }
}
