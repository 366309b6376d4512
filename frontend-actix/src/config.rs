//! `config.json`, the environment over it, and what both may say: see [`service::config`] for the layers.
//! The well-known names are `PORT`, `PUBSUB_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT` and
//! `PUBSUB_EMULATOR_HOST`.

mod error;
mod sections;
#[cfg(test)]
mod tests;

use fmnist_core::{
    Engine,
    pipeline::{BatchConfig, OnError, PipelineConfig, ResultsConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::config::{
    BATCHES, Document, Origins, PROBATION_BATCHES, PROBES, Range, WATCH_MS, check_kafka,
    check_pubsub, emulator_from,
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
    /// Where each of the values came from.
    #[serde(skip)]
    pub origins: Origins,
}

/// What a number may be, beside those of any program.
const RANGES: [Range; 17] = [
    ("model.threads", 1..=1_024),
    ("model.watch_ms", WATCH_MS),
    ("model.probation_batches", PROBATION_BATCHES),
    ("model.shadow_percent", 1..=100),
    ("results.top_k", 0..=1_000),
    ("results.max_result_bytes", 1..=1 << 30),
    ("database.retention_days", 1..=36_500),
    ("server.port", 0..=65_535),
    ("server.max_body_bytes", 1..=1 << 30),
    ("server.max_bodies_bytes", 1..=1 << 34),
    ("server.max_requests_per_second", 1..=1_000_000),
    ("server.max_inferences", 1..=65_536),
    ("server.max_waiting", 0..=65_536),
    ("server.max_wait_ms", 0..=60_000),
    ("server.max_streams", 0..=100_000),
    ("server.max_connections", 1..=1_000_000),
    ("server.read_timeout_ms", 1..=600_000),
];

impl Document for Config {
    type Error = ConfigError;

    const NOT_AVAILABLE: &[&str] = &["results.format"];
    const WELL_KNOWN: &[(&str, &str)] = &[
        ("GOOGLE_CLOUD_PROJECT", "pubsub.project_id"),
        ("PUBSUB_PROJECT_ID", "pubsub.project_id"),
        ("PORT", "server.port"),
    ];
    /// What libraries, tests and benchmarks read.
    const RESERVED: &[&str] = &["DATA", "KERNEL", "LOG", "TEST_", "BENCH_"];

    fn ranges() -> Vec<Range> {
        [&RANGES[..], &BATCHES, &PROBES].concat()
    }

    fn origins(&self) -> &Origins {
        &self.origins
    }

    fn origins_mut(&mut self) -> &mut Origins {
        &mut self.origins
    }

    fn settle(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        let Self { kafka, pubsub, model, database, data, origins, .. } = self;
        emulator_from(variables, pubsub, origins)?;
        if let Some((name, kernel)) = variables.iter().find(|(name, _)| name == "FMNIST_KERNEL") {
            model.kernel = Some(kernel.parse().map_err(ConfigError::Kernel)?);
            origins.record("model.kernel", name);
        }
        for text in [&mut model.model_version, &mut model.shadow, &mut database.url] {
            drop(text.take_if(|text| text.is_empty()));
        }
        for path in [&mut data.path, &mut model.watch, &mut model.repository] {
            drop(path.take_if(|path| path.as_os_str().is_empty()));
        }
        check_pubsub(pubsub, origins)?;
        model.engine.parse::<Engine>().map_err(|source| ConfigError::Engine {
            origin: origins.of("model.engine").to_owned(),
            source,
        })?;
        check_kafka(kafka, origins)?;
        self.server.check()
    }

    fn beside(&self) -> Vec<(&'static str, String)> {
        let emulator = self.pubsub.emulator.as_ref().map(|emulator| emulator.endpoint());
        let kernel = self.model.kernel.map(|kernel| kernel.to_string());
        let beside = [("pubsub.emulator", emulator), ("model.kernel", kernel)];
        beside.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }

    fn value(&self) -> Value {
        let mut value = service::config::plain(self);
        value["database"]["url"] = self.database.shown_url().into();
        value
    }
}

impl Config {
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
    pub fn schema() -> Value {
        let mut schema = fmnist_core::message::schema::read::<Self>();
        let place = |key: &str| format!("/properties/{}", key.replace('.', "/properties/"));
        for (key, range) in Self::ranges() {
            let number = schema.pointer_mut(&place(key)).expect("every range has its key");
            number["minimum"] = (*range.start()).into();
            number["maximum"] = (*range.end()).into();
        }
        schema.pointer_mut(&place("model.engine")).expect("a key")["enum"] =
            Engine::ALL.map(Engine::name).to_vec().into();
        schema
    }
}
