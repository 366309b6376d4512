use serde::{Deserialize, Serialize};

/// How messages are gathered into batches, and how much may be in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Images in one inference call at most.
    pub max_images: usize,
    /// Messages in flight at most.
    pub max_messages: usize,
    /// Bytes in flight at most: keys, headers, payloads and the images that they carry, unpacked.
    pub max_bytes: usize,
    /// How long a busy pipeline may hold an incomplete batch, in milliseconds.
    pub max_wait_ms: u64,
    /// What an image may wait for its answer, in milliseconds: smaller batches while fewer messages
    /// wait than a batch has images. Not promised where the load is above what the model can do.
    pub latency_budget_ms: Option<u64>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_images: 256,
            max_messages: 2048,
            max_bytes: 16 << 20,
            max_wait_ms: 5,
            latency_budget_ms: None,
        }
    }
}

/// What results look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResultsConfig {
    /// How many of the most probable classes each prediction lists; 0 leaves the list out.
    pub top_k: usize,
    /// A result above this many bytes is split into parts.
    pub max_result_bytes: usize,
}

impl Default for ResultsConfig {
    fn default() -> Self {
        Self { top_k: 0, max_result_bytes: 900_000 }
    }
}

/// What to do with a message that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OnError {
    /// The action.
    pub action: OnErrorAction,
    /// With `retry`: failures of a message before it is dead-lettered.
    pub attempts: u32,
    /// How often the process may end without a farewell (out of memory, aborted, killed) while a
    /// message alone is in flight, before that message is dead-lettered at the stage it was in.
    /// Counted on Kafka; 0 gives none up.
    pub crashes: u32,
    /// The wait before a message is handed back to be delivered again, in milliseconds.
    pub backoff_ms: u64,
}

impl Default for OnError {
    fn default() -> Self {
        Self { action: OnErrorAction::DeadLetter, attempts: 3, crashes: 3, backoff_ms: 100 }
    }
}

/// See [`OnError::action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnErrorAction {
    /// The bad message goes to the dead letters, the rest go on.
    DeadLetter,
    /// A message that inference failed on is delivered again, up to [`OnError::attempts`] times,
    /// then dead-lettered. What cannot be decoded is dead-lettered at once: it will not improve.
    Retry,
    /// The pipeline stops with the message unacknowledged.
    Stop,
}

/// Everything a pipeline can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Batching and bounds.
    pub batch: BatchConfig,
    /// The form of results.
    pub results: ResultsConfig,
    /// What to do with a message that cannot be answered.
    pub on_error: OnError,
    /// Nothing is published; a sink records the results.
    pub record_only: bool,
    /// How long draining may take, in milliseconds.
    pub grace_ms: u64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            batch: BatchConfig::default(),
            results: ResultsConfig::default(),
            on_error: OnError::default(),
            record_only: false,
            grace_ms: 10_000,
        }
    }
}
