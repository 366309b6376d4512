//! What a pipeline says when it is over.

use std::sync::Arc;

use super::SinkError;
use crate::{
    predict::PredictError,
    transport::{Settlement, Stage, TransportError},
};

/// What a pipeline did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipelineReport {
    /// Ends of messages, by kind.
    pub settlement: Settlement,
    /// Inputs answered.
    pub inputs: usize,
    /// Inference calls, without those that bisect a failed batch.
    pub batches: usize,
    /// Messages that were in flight when the time to finish them was over; they are delivered again.
    pub unfinished: usize,
}

/// Why a pipeline stopped before it was asked to. What it had not acknowledged is delivered again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The transport gave up.
    #[error("the transport gave up")]
    Transport(#[from] TransportError),
    /// The model failed before anything was received.
    #[error("the model failed its warm-up; nothing was received")]
    WarmUp(#[source] PredictError),
    /// Results would go nowhere.
    #[error("no results topic and no sink: results would be lost; nothing was received")]
    NoDestination,
    /// The codec may send results where the transport does not write.
    #[error(
        "the codec sends results to topic {topic}, which is no route of the transport: add it to \
         {transport}.routes; nothing was received"
    )]
    NoRoute {
        /// The topic.
        topic: Arc<str>,
        /// The transport's name.
        transport: &'static str,
    },
    /// A message was refused and the configuration says stop.
    #[error("message {id} was refused at {stage}: {reason}; it is not acknowledged")]
    Refused {
        /// The message.
        id: String,
        /// The step that refused it.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// So many messages in a row were refused that it is hardly they that are bad.
    #[error(
        "{count} messages in a row were refused (on_error.max_consecutive), {id} last, at {stage}: \
         {reason}; it is not acknowledged, and of those before it what is not dead-lettered yet comes \
         again, too"
    )]
    RefusedInARow {
        /// How many.
        count: u32,
        /// The last one.
        id: String,
        /// The step that refused it.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// A part of the sink ended early.
    #[error("the sink gave up")]
    Sink(#[source] SinkError),
    /// A thread of the pipeline ended early.
    #[error("the {thread} thread ended early; what was in flight is delivered again")]
    ThreadEnded {
        /// `decode` or `inference`.
        thread: &'static str,
    },
}
