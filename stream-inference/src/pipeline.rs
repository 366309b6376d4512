//! The loop that runs a model on a stream: receive, decode, batch by inputs, infer on its own thread, sink,
//! settle, drain.
//!
//! ```text
//! recv ─► decode thread ─► scheduler ─► inference thread ─► answers ─► sink ─► settle
//! ```
//!
//! Messages of one lane are settled in the lane's order, however their inputs were batched;
//! messages without a lane are settled as they are done.

mod answer;
mod budget;
mod config;
mod failures;
mod in_flight;
mod meters;
mod outage;
pub(crate) mod pace;
mod pulse;
mod runner;
pub(crate) mod schedule;
pub(crate) mod shield;
#[cfg(test)]
mod simulation;
mod sink;
mod spans;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

use std::sync::Arc;

pub use config::{BatchConfig, OnError, OnErrorAction, PipelineConfig};
pub(crate) use meters::served_by;
pub use pulse::{Pulse, Vitals, Waiting};
pub use sink::{Answered, NoSink, Sink, SinkError};
use tokio::sync::broadcast;

use crate::{
    codec::Codec,
    predict::{PredictError, Predictor},
    transport::{Settlement, Stage, Transport, TransportError},
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

/// One transport, one model, one format, one loop.
pub struct Pipeline<T, P, C: Codec, S = NoSink> {
    transport: T,
    model: Arc<P>,
    codec: Arc<C>,
    config: PipelineConfig,
    sink: S,
    observer: Option<broadcast::Sender<Arc<C::Record>>>,
    pulse: Pulse,
}

impl<T, P, C> Pipeline<T, P, C>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    /// A pipeline that reads with `codec` what `transport` brings, and answers with `model`.
    pub fn new(transport: T, model: P, codec: C, config: PipelineConfig) -> Self {
        let (model, codec) = (Arc::new(model), Arc::new(codec));
        let (sink, observer, pulse) = (NoSink, None, Pulse::default());
        Self { transport, model, codec, config, sink, observer, pulse }
    }

    /// Adds a sink, written after inference and before settlement.
    pub fn with_sink<S: Sink<C::Record, C::Input>>(self, sink: S) -> Pipeline<T, P, C, S> {
        let Self { transport, model, codec, config, observer, pulse, .. } = self;
        Pipeline { transport, model, codec, config, sink, observer, pulse }
    }
}

impl<T, P, C, S> Pipeline<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    /// Feeds every settled result to a page or history; best effort, never counts as delivery.
    #[must_use]
    pub fn with_observer(mut self, observer: broadcast::Sender<Arc<C::Record>>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Keeps `pulse` informed, for a watchdog and probes to ask whether the pipeline gets on.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// Warms the model, then runs until `shutdown` resolves, then drains.
    ///
    /// Draining stops receiving, finishes what is in flight within [`PipelineConfig::grace_ms`],
    /// settles it, and hands the rest back to the broker.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<PipelineReport, PipelineError> {
        self.check_destinations()?;
        runner::run(self, shutdown).await
    }

    /// Whether there is a place for every result.
    fn check_destinations(&self) -> Result<(), PipelineError> {
        if self.config.record_only {
            return if S::RECORDS { Ok(()) } else { Err(PipelineError::NoDestination) };
        }
        match self.codec.topics().into_iter().find(|topic| !self.transport.has_route(topic)) {
            Some(topic) => Err(PipelineError::NoRoute { topic, transport: T::NAME }),
            None => Ok(()),
        }
    }
}
