use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use fmnist_core::{
    Classifier, ClassifyError, Engine,
    engine::Kernel,
    settings::{self, Whole, WholeOrNull, none_if_empty},
};
use serde::{Deserialize, Serialize};
use service::{ProbationBatches, ProbesConfig, SlotConfig, WatchMs, WriteTimeoutMs};

use super::ConfigError;
use crate::legacy;

/// The page and the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address to listen on; other than loopback it needs [`ServerConfig::api_token`].
    pub bind: IpAddr,
    /// The port; 0 takes a free one.
    #[serde(with = "Whole::<0, 65_535>")]
    pub port: u16,
    /// Where the Open Inference Protocol is served over gRPC, by programs with the feature `grpc`; without it,
    /// nowhere; 0 takes a free port.
    #[serde(with = "WholeOrNull::<0, 65_535>")]
    pub grpc_port: Option<u16>,
    /// Where a consumer, which has no page, answers `/livez`, `/readyz` and `/metrics`, without a
    /// token; 0 takes a free port.
    #[serde(with = "WholeOrNull::<0, 65_535>")]
    pub health_port: Option<u16>,
    /// What callers have to show, as `Authorization: Bearer` or the page's cookie.
    #[serde(serialize_with = "settings::hidden")]
    pub api_token: Option<String>,
    /// Names under which a reverse proxy with TLS serves this, beside this computer's own; they need
    /// [`ServerConfig::api_token`].
    pub hosts: Vec<String>,
    /// Largest request body, in bytes.
    #[serde(with = "Whole::<1, { 1 << 30 }>")]
    pub max_body_bytes: usize,
    /// Bodies of requests in memory at once, in bytes, and as much of large answers.
    #[serde(with = "Whole::<1, { 1 << 34 }>")]
    pub max_bodies_bytes: usize,
    /// Requests that publish, classify or sign in, a second; as many may come at once.
    #[serde(with = "Whole::<1, 1_000_000>")]
    pub max_requests_per_second: u32,
    /// Requests whose pictures are read at once; without it, one for each core.
    #[serde(with = "WholeOrNull::<1, 65_536>")]
    pub max_inferences: Option<NonZeroUsize>,
    /// Requests that wait beside those for their turn or for their share of a batch.
    #[serde(with = "Whole::<0, 65_536>")]
    pub max_waiting: usize,
    /// How long a request waits for its turn, and for the images before its own, in milliseconds; no
    /// longer than `batch.latency_budget_ms`, where that is set.
    #[serde(with = "Whole::<0, 60_000>")]
    pub max_wait_ms: u64,
    /// Streams of results, and so pages, that are open at once.
    #[serde(with = "Whole::<0, 100_000>")]
    pub max_streams: usize,
    /// Connections at once; further ones wait until one ends.
    #[serde(with = "Whole::<1, 1_000_000>")]
    pub max_connections: usize,
    /// How long a client may take to send a body, in milliseconds; a head has 5 s at most.
    #[serde(with = "Whole::<1, 600_000>")]
    pub read_timeout_ms: u64,
    /// How long a client may take nothing of its answer, in milliseconds, before it is cut off.
    #[serde(with = "WriteTimeoutMs")]
    pub write_timeout_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 5000,
            grpc_port: None,
            health_port: None,
            api_token: None,
            hosts: Vec::new(),
            max_body_bytes: 10 << 20,
            max_bodies_bytes: 64 << 20,
            max_requests_per_second: 1_000,
            max_inferences: None,
            max_waiting: 64,
            max_wait_ms: 1_000,
            max_streams: 100,
            max_connections: 1_000,
            read_timeout_ms: 30_000,
            write_timeout_ms: 20_000,
        }
    }
}

impl ServerConfig {
    pub(crate) fn max_inferences(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.max_inferences.map_or_else(cores, NonZeroUsize::get)
    }

    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    /// What a consumer, which has no page, takes of this.
    pub const fn probes(&self) -> ProbesConfig {
        let Self { bind, health_port, write_timeout_ms, .. } = *self;
        ProbesConfig { bind, health_port, write_timeout_ms }
    }

    /// Refuses what would be unsafe to serve.
    ///
    /// # Errors
    /// [`ConfigError::Host`], [`ConfigError::HostsWithoutToken`],
    /// [`ConfigError::PublicWithoutToken`] and [`ConfigError::Token`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(found) = self.hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::Host { found: found.clone() });
        }
        match &self.api_token {
            Some(token) => {
                let carried = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                let fits = (16..=512).contains(&token.len()) && token.bytes().all(carried);
                fits.then_some(()).ok_or(ConfigError::Token)
            }
            None if !self.hosts.is_empty() => Err(ConfigError::HostsWithoutToken),
            None if self.bind.is_loopback() => Ok(()),
            None => Err(ConfigError::PublicWithoutToken { bind: self.bind.to_string() }),
        }
    }
}

/// A name as it stands in `Host`, without a port; a pattern would let more in than is meant.
fn is_host(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The model and what computes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A built-in model or the path of a weights file; `model.h5` means `notebook`.
    pub model_name: String,
    /// The version that is expected; another is loaded with a warning.
    #[serde(deserialize_with = "none_if_empty")]
    pub model_version: Option<String>,
    /// `fused`, `int8`, `flex` or `ndarray`.
    pub engine: Engine,
    /// Threads that compute; without it, one for each physical core within the process's quota.
    #[serde(with = "WholeOrNull::<1, 1_024>")]
    pub threads: Option<NonZeroUsize>,
    /// Whether each image is classified as it is and mirrored, and the two answers averaged: twice the cost.
    pub flip_average: bool,
    /// A weights file that is looked at for a new model; without it, none.
    #[serde(deserialize_with = "none_if_empty")]
    pub watch: Option<PathBuf>,
    /// How often, in milliseconds.
    #[serde(with = "WatchMs")]
    pub watch_ms: u64,
    /// Batches during which the model before a new one stands by.
    #[serde(with = "ProbationBatches")]
    pub probation_batches: usize,
    /// The folder of weights files that `POST /v2/repository/models/{name}/load` may name.
    #[serde(deserialize_with = "none_if_empty")]
    pub repository: Option<PathBuf>,
    /// A candidate that is compared behind the model in service: a built-in model or a weights file.
    #[serde(deserialize_with = "none_if_empty")]
    pub shadow: Option<String>,
    /// How many of a hundred batches the candidate is given.
    #[serde(with = "Whole::<1, 100>")]
    pub shadow_percent: u8,
    /// The kernel of `fused` that the variable `FMNIST_KERNEL` names, else the best.
    #[serde(skip)]
    pub kernel: Option<Kernel>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            model_name: "base".to_owned(),
            model_version: None,
            engine: Engine::default(),
            threads: None,
            flip_average: false,
            watch: None,
            watch_ms: SlotConfig::default().watch_ms,
            probation_batches: SlotConfig::default().probation_batches,
            repository: None,
            shadow: None,
            shadow_percent: 10,
            kernel: None,
        }
    }
}

impl ModelConfig {
    /// Loads the model.
    ///
    /// # Errors
    /// When there is no such model, with the names that there are, or no such engine in this build.
    pub fn classifier(&self) -> Result<Classifier, ClassifyError> {
        let classifier = self.open(&self.model_name)?;
        let found = &classifier.identity().version;
        if let Some(expected) = self.model_version.as_ref().filter(|expected| *expected != found) {
            let model = &classifier.identity().name;
            tracing::warn!(expected, found, model, "the model has another version");
        }
        Ok(classifier)
    }

    /// Loads a built-in model or a weights file, computed as the configured one.
    ///
    /// # Errors
    /// As [`ModelConfig::classifier`].
    pub fn open(&self, name: &str) -> Result<Classifier, ClassifyError> {
        let name = legacy::model_name(name);
        let mut classifier = Classifier::open(name)?.with_flip_average(self.flip_average);
        // Before the engine: what was asked for to avoid an instruction set is not to try it first.
        if let Some(kernel) = self.kernel {
            classifier = classifier.with_kernel(kernel)?;
        }
        classifier = classifier.with_engine(self.engine)?;
        if let Some(threads) = self.threads {
            classifier = classifier.with_threads(threads);
        }
        Ok(classifier)
    }

    /// How the model is exchanged.
    pub fn slot(&self) -> SlotConfig {
        let Self { watch, watch_ms, probation_batches, .. } = self.clone();
        SlotConfig { watch, watch_ms, probation_batches }
    }
}

/// The data set whose test images ranges index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The folder of the official files; without it the usual places are searched.
    #[serde(deserialize_with = "none_if_empty")]
    pub path: Option<PathBuf>,
}
