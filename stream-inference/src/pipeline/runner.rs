//! The loop, which owns the transport and every message: each step of a message's way is a file.

mod infer;
mod receive;
mod refuse;
mod settle;

use std::{
    pin::Pin,
    sync::Arc,
    time::{self, Duration},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep_until},
};

use refuse::Refusals;
use settle::{Settled, Written};

use super::{
    Pipeline, PipelineConfig, PipelineError, PipelineReport, Pulse, Sink, budget,
    failures::Failures,
    in_flight::{End, InFlight},
    meters::Meters,
    outage::{Outage, Pauses},
    pace::Pace,
    pulse::Place,
    schedule::{Schedule, Sequence},
    worker::{self, Decoder, Inference},
};
use crate::{
    codec::Codec,
    predict::{PredictError, Predictor},
    transport::{Delivery, Limits, Stage, Transport, TransportError},
};

/// A full batch waits behind the one that runs, so that the inference thread never idles.
pub(super) const BATCHES_AHEAD: usize = 2;

type Eventually<O> = FuturesUnordered<Pin<Box<dyn Future<Output = O> + Send>>>;

pub(super) async fn run<T, P, C, S>(
    pipeline: Pipeline<T, P, C, S>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PipelineReport, PipelineError>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    let mut shutdown = std::pin::pin!(shutdown);
    pipeline.pulse.measure(T::NAME);
    if !warm_up(&pipeline.model, &pipeline.pulse, shutdown.as_mut()).await? {
        pipeline.transport.drain(Duration::from_secs(1)).await?;
        return Ok(PipelineReport::default());
    }
    let capacity = pipeline.config.batch.max_messages.max(1);
    let meters = Arc::new(Meters::new(T::NAME, &pipeline.model.identity()));
    let (codec, keeps_inputs) = (Arc::clone(&pipeline.codec), pipeline.sink.keeps_inputs());
    let decoder = worker::decoder(codec, keeps_inputs, capacity, Arc::clone(&meters));
    let (model, pulse) = (Arc::clone(&pipeline.model), pipeline.pulse.clone());
    let inference = worker::inference(model, BATCHES_AHEAD, Arc::clone(&meters), pulse);
    run_with(pipeline, decoder, inference, meters, shutdown).await
}

/// Warms the model up, however long it is away; false where `shutdown` comes first.
async fn warm_up<P: Predictor>(
    model: &Arc<P>,
    pulse: &Pulse,
    mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<bool, PipelineError> {
    let mut outage = Outage::new(pulse);
    loop {
        let warming = Arc::clone(model);
        pulse.enter(Place::Infer, 1);
        let warmed = tokio::task::spawn_blocking(move || warming.warm_up()).await;
        pulse.leave(Place::Infer, 1);
        let pause = match warmed.map_err(|_| ended("inference"))? {
            Ok(()) => return Ok(true),
            Err(PredictError::Unavailable { reason }) => {
                outage.pause(&model.identity().name, &reason)
            }
            Err(error) => return Err(PipelineError::WarmUp(error)),
        };
        tokio::select! {
            () = shutdown.as_mut() => return Ok(false),
            () = tokio::time::sleep(pause) => outage.try_again(),
        }
    }
}

/// [`run`], with the model warm, the two threads and the meters given.
pub(super) async fn run_with<T, P, C, S>(
    pipeline: Pipeline<T, P, C, S>,
    decoder: Decoder<C>,
    inference: Inference<P::Input, P::Output>,
    meters: Arc<Meters>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PipelineReport, PipelineError>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    let mut runner = Runner::new(pipeline, decoder, inference, meters);
    if runner.config.on_error.crashes == 0 {
        runner.transport.forget_crashes();
    }
    let stopped = runner.run(shutdown).await;
    let grace = Duration::from_millis(runner.config.grace_ms);
    crate::fail_point!(InDrain);
    let left = runner.deadline.map_or(grace, |deadline| deadline - Instant::now());
    runner.pulse.ended();
    let Runner { transport, mut report, messages, .. } = runner;
    report.unfinished = messages;
    let drained = transport.drain(left.max(Duration::from_secs(1))).await;
    stopped?;
    drained?;
    Ok(report)
}

struct Runner<T: Transport, P: Predictor, C: Codec, S> {
    transport: T,
    codec: Arc<C>,
    /// Those that the codec may name.
    topics: Vec<Arc<str>>,
    config: PipelineConfig,
    sink: Arc<S>,
    observer: Option<broadcast::Sender<Arc<C::Record>>>,
    pulse: Pulse,
    meters: Arc<Meters>,

    decoder: Decoder<C>,
    inference: Inference<P::Input, P::Output>,
    in_flight: InFlight<T::Token, C>,
    schedule: Schedule<C::Inputs>,
    pace: Pace,
    batches_ahead: usize,
    /// Messages that were received and not yet settled.
    messages: usize,
    /// Inputs that were answered in messages that are not yet settled, and how many may be.
    answers: usize,
    most_answers: usize,
    /// At most one write at a time, so that outcomes keep their order.
    sinking: Eventually<Written<T::Token, C>>,
    settling: Eventually<Settled<C>>,
    /// Messages that are handed back once their back-off is over.
    delayed: Eventually<Sequence>,
    failures: Failures,
    refusals: Refusals,
    pauses: Pauses,
    /// Nothing is received before, because that failed.
    back_off_until: Option<Instant>,
    deadline: Option<Instant>,
    report: PipelineReport,
}

impl<T, P, C, S> Runner<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    fn new(
        pipeline: Pipeline<T, P, C, S>,
        decoder: Decoder<C>,
        inference: Inference<P::Input, P::Output>,
        meters: Arc<Meters>,
    ) -> Self {
        let Pipeline { transport, model: _, codec, config, sink, observer, pulse } = pipeline;
        Self {
            pace: Pace::new(&config.batch),
            refusals: Refusals::new(config.on_error.max_consecutive),
            decoder,
            inference,
            transport,
            most_answers: budget::answers(codec.output_bytes()),
            topics: codec.topics(),
            codec,
            config,
            sink: Arc::new(sink),
            observer,
            pulse,
            meters,
            in_flight: InFlight::new(),
            schedule: Schedule::default(),
            batches_ahead: 0,
            messages: 0,
            answers: 0,
            sinking: Eventually::new(),
            settling: Eventually::new(),
            delayed: Eventually::new(),
            failures: Failures::default(),
            pauses: Pauses::default(),
            back_off_until: None,
            deadline: None,
            report: PipelineReport::default(),
        }
    }

    /// Runs until everything in flight is settled after `shutdown`, or the grace is over.
    async fn run(
        &mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), PipelineError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let sink = Arc::clone(&self.sink);
        let mut broken = std::pin::pin!(sink.ended());
        loop {
            self.dispatch()?;
            self.flush()?;
            if self.deadline.is_some() && self.messages == 0 {
                return Ok(());
            }
            let limits = self.limits();
            tokio::select! {
                // What ends a message comes before what begins one: that bounds memory.
                biased;
                () = shutdown.as_mut(), if self.deadline.is_none() => {
                    let grace = Duration::from_millis(self.config.grace_ms);
                    self.deadline = Some(Instant::now() + grace);
                }
                error = broken.as_mut() => return Err(PipelineError::Sink(error)),
                () = sleep_until(self.deadline.unwrap_or_else(Instant::now)),
                    if self.deadline.is_some() => {
                    tracing::warn!(messages = self.messages, "the grace is over; \
                        what is in flight is delivered again");
                    return Ok(());
                }
                Some(settled) = self.settling.next() => self.settled(settled)?,
                Some(written) = self.sinking.next() => {
                    self.pulse.leave(Place::Sink, 1);
                    crate::fail_point!(AfterSink);
                    self.settle(written);
                }
                Some(sequence) = self.delayed.next() => {
                    self.in_flight.finish(sequence, End::Retry);
                }
                inferred = self.inference.output.recv() => {
                    self.inferred(inferred.ok_or(ended("inference"))?)?;
                }
                decoded = self.decoder.output.recv() => {
                    let (batch, at) = (decoded.ok_or(ended("decode"))?, time::Instant::now());
                    if self.is_about_to_be_given_up(&batch) {
                        // Nothing else is in flight that would have to wait for this.
                        self.transport.enter(Stage::Infer).await;
                    }
                    self.pulse.leave(Place::Decode, batch.len());
                    for (sequence, request) in batch {
                        self.decoded(sequence, request, at)?;
                    }
                }
                received = receive(&mut self.transport, limits, self.back_off_until),
                    if limits.max_messages > 0 => self.received(received)?,
            }
        }
    }

    /// What may be received now; no messages while there is no room or the pipeline drains.
    fn limits(&self) -> Limits {
        let batch = &self.config.batch;
        let bytes = self.in_flight.bytes();
        let has_room = bytes < batch.max_bytes.max(1) && self.answers < self.most_answers;
        let room = match has_room && self.deadline.is_none() {
            true => batch.max_messages.max(1).saturating_sub(self.messages),
            false => 0,
        };
        let idle = self.batches_ahead == 0;
        let max_wait = if idle { 0 } else { batch.max_wait_ms };
        Limits {
            max_messages: room,
            max_bytes: batch.max_bytes.saturating_sub(bytes),
            max_wait: Duration::from_millis(max_wait),
        }
    }
}

fn ended(thread: &'static str) -> PipelineError {
    PipelineError::ThreadEnded { thread }
}

/// Cancel safe, as [`Transport::recv`] is.
async fn receive<T: Transport>(
    transport: &mut T,
    limits: Limits,
    back_off_until: Option<Instant>,
) -> Result<Vec<Delivery<T::Token>>, TransportError> {
    if let Some(until) = back_off_until {
        sleep_until(until).await;
    }
    transport.recv(limits).await
}
