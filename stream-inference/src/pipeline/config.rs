//! What a pipeline is told. Each bound stands on its field; readers and schemas take it from there.

use serde::{Deserialize, Serialize};

use crate::settings::{Whole, WholeOrNull};

/// How messages are gathered into batches, and how much may be in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Inputs in one inference call at most.
    #[serde(rename = "max_images", alias = "max_inputs", with = "Whole::<1, 65_536>")]
    pub max_inputs: usize,
    /// Messages in flight at most.
    #[serde(with = "Whole::<1, 1_000_000>")]
    pub max_messages: usize,
    /// Bytes in flight at most: keys, headers, payloads and the inputs that they carry, unpacked.
    #[serde(with = "Whole::<1, { 1 << 32 }>")]
    pub max_bytes: usize,
    /// How long a busy pipeline may hold an incomplete batch, in milliseconds.
    #[serde(with = "Whole::<0, 60_000>")]
    pub max_wait_ms: u64,
    /// What an input may wait for its answer, in milliseconds: smaller batches while fewer messages
    /// wait than a batch has inputs. Not promised where the load is above what the model can do.
    #[serde(with = "WholeOrNull::<1, 60_000>")]
    pub latency_budget_ms: Option<u64>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_inputs: 256,
            max_messages: 2048,
            max_bytes: 16 << 20,
            max_wait_ms: 5,
            latency_budget_ms: None,
        }
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
    #[serde(with = "Whole::<1, 1_000>")]
    pub attempts: u32,
    /// How often the process may end without a farewell (out of memory, aborted, killed) while a
    /// message alone is in flight, before that message is dead-lettered at the stage it was in.
    /// Counted on Kafka; 0 gives none up.
    #[serde(with = "Whole::<0, 1_000>")]
    pub crashes: u32,
    /// Stops the pipeline at so many refusals without an answer in between, the last of them not
    /// acknowledged: then it is hardly the messages that are bad. None where nothing is said.
    #[serde(with = "WholeOrNull::<1, 1_000_000>")]
    pub max_consecutive: Option<u32>,
    /// The wait before a message is handed back to be delivered again, in milliseconds.
    #[serde(with = "Whole::<0, 600_000>")]
    pub backoff_ms: u64,
}

impl Default for OnError {
    fn default() -> Self {
        Self {
            action: OnErrorAction::DeadLetter,
            attempts: 3,
            crashes: 3,
            max_consecutive: None,
            backoff_ms: 100,
        }
    }
}

/// See [`OnError::action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
            on_error: OnError::default(),
            record_only: false,
            grace_ms: 10_000,
        }
    }
}
