//! The only loop: receive, decode, batch by images, infer on its own thread, sink, settle, drain.
//!
//! ```text
//! recv ─► decode thread ─► scheduler ─► inference thread ─► answers ─► sink ─► settle
//! ```
//!
//! Messages of one lane are settled in the lane's order, however their images were batched;
//! messages without a lane are settled as they are done.

mod answer;
mod budget;
mod config;
mod failures;
mod in_flight;
mod meters;
pub(crate) mod pace;
mod pulse;
mod runner;
pub(crate) mod schedule;
#[cfg(test)]
mod simulation;
mod sink;
mod spans;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

use std::sync::Arc;

pub use config::{BatchConfig, OnError, OnErrorAction, PipelineConfig, ResultsConfig};
use pulse::Place;
pub use pulse::{Pulse, Vitals, Waiting};
pub use sink::{Answered, NoSink, Sink, SinkError};
use tokio::sync::broadcast;

use crate::{
    classifier::{ClassifyError, Infer},
    image::Image,
    message::ResultRecord,
    transport::{Settlement, Stage, Transport, TransportError},
};

/// What a pipeline did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineReport {
    /// Ends of messages, by kind.
    pub settlement: Settlement,
    /// Images classified.
    pub images: usize,
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
    /// The model failed on a blank image, before anything was received.
    #[error("the model failed its warm-up; nothing was received")]
    WarmUp(#[source] ClassifyError),
    /// Results would go nowhere.
    #[error("no results topic and no sink: results would be lost; nothing was received")]
    NoDestination,
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

/// One transport, one model, one loop.
pub struct Pipeline<T, M, S = NoSink> {
    transport: T,
    model: Arc<M>,
    test_images: Arc<[Image]>,
    config: PipelineConfig,
    sink: S,
    observer: Option<broadcast::Sender<Arc<ResultRecord>>>,
    pulse: Pulse,
}

impl<T: Transport, M: Infer> Pipeline<T, M> {
    /// A pipeline that answers ranges over `test_images`.
    pub fn new(
        transport: T,
        model: Arc<M>,
        test_images: Arc<[Image]>,
        config: PipelineConfig,
    ) -> Self {
        let (sink, observer, pulse) = (NoSink, None, Pulse::default());
        Self { transport, model, test_images, config, sink, observer, pulse }
    }

    /// Adds a sink, written after inference and before settlement.
    pub fn with_sink<S: Sink>(self, sink: S) -> Pipeline<T, M, S> {
        let Self { transport, model, test_images, config, observer, pulse, .. } = self;
        Pipeline { transport, model, test_images, config, sink, observer, pulse }
    }
}

impl<T: Transport, M: Infer, S: Sink> Pipeline<T, M, S> {
    /// Feeds every settled result to a page or history; best effort, never counts as delivery.
    #[must_use]
    pub fn with_observer(mut self, observer: broadcast::Sender<Arc<ResultRecord>>) -> Self {
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
        if self.config.record_only && !S::RECORDS {
            return Err(PipelineError::NoDestination);
        }
        let model = Arc::clone(&self.model);
        let blank = Image::new([0; Image::PIXELS]);
        self.pulse.enter(Place::Infer, 1);
        let warmed = tokio::task::spawn_blocking(move || model.infer(&[blank]).map(drop)).await;
        self.pulse.leave(Place::Infer, 1);
        match warmed {
            Ok(result) => result.map_err(PipelineError::WarmUp)?,
            Err(_) => return Err(PipelineError::ThreadEnded { thread: "inference" }),
        }
        runner::run(self, shutdown).await
    }
}
