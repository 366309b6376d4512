//! A pipeline and its loop, which owns the transport and every message. The loop decides what is next; the
//! steps of a message's way are in `process`, up to its end, and in `settle`, from there on.

mod process;
mod settle;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{self, Duration},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep_until},
};

use super::{
    NoSink, PipelineConfig, PipelineError, PipelineReport, Pulse, Sink,
    failures::{Failures, Refusals},
    in_flight::{End, InFlight},
    meters::Meters,
    outcomes::{Settled, Written},
    pace::Pace,
    pulse::{Outage, Pauses, Place},
    schedule::{Schedule, Sequence},
    worker::{self, Decoder, Inference},
};
use crate::{
    codec::Codec,
    predict::{PredictError, Predictor},
    transport::{Delivery, Limits, Stage, Transport, TransportError},
};

/// One transport, one model, one format, one loop.
pub struct Pipeline<T, P, C: Codec, S = NoSink> {
    transport: T,
    model: Arc<P>,
    codec: Arc<C>,
    config: PipelineConfig,
    sink: Arc<S>,
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
        let (sink, observer, pulse) = (Arc::new(NoSink), None, Pulse::default());
        Self { transport, model, codec, config, sink, observer, pulse }
    }

    /// Adds a sink, written after inference and before settlement.
    pub fn with_sink<S: Sink<C::Record, C::Input>>(self, sink: S) -> Pipeline<T, P, C, S> {
        let Self { transport, model, codec, config, observer, pulse, .. } = self;
        let sink = Arc::new(sink);
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
        let mut shutdown = pin!(shutdown);
        self.pulse.measure(T::NAME);
        if !warm_up(&self.model, &self.pulse, shutdown.as_mut()).await? {
            self.transport.drain(Duration::from_secs(1)).await?;
            return Ok(PipelineReport::default());
        }
        let capacity = self.config.batch.max_messages.max(1);
        let meters = Arc::new(Meters::new(T::NAME, &self.model.identity()));
        let (codec, keeps_inputs) = (Arc::clone(&self.codec), self.sink.keeps_inputs());
        let decoder = worker::decoder(codec, keeps_inputs, capacity, Arc::clone(&meters));
        let (model, pulse) = (Arc::clone(&self.model), self.pulse.clone());
        let inference = worker::inference(model, BATCHES_AHEAD, Arc::clone(&meters), pulse);
        self.run_with(decoder, inference, meters, shutdown).await
    }

    /// [`Pipeline::run`], with the model warm, the two threads and the meters given.
    pub(super) async fn run_with(
        self,
        decoder: Decoder<C>,
        inference: Inference<P::Input, P::Output>,
        meters: Arc<Meters>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<PipelineReport, PipelineError> {
        let mut runner = Runner::new(self, decoder, inference, meters);
        if runner.given.config.on_error.crashes == 0 {
            runner.given.transport.forget_crashes();
        }
        let stopped = runner.run(shutdown).await;
        fail_point!(InDrain);
        let deadline = runner.deadline.unwrap_or_else(|| runner.grace_over());
        runner.given.pulse.ended();
        let Runner { given, mut report, messages, .. } = runner;
        report.unfinished = messages;
        let left = deadline - Instant::now();
        let drained = given.transport.drain(left.max(Duration::from_secs(1))).await;
        stopped?;
        drained?;
        Ok(report)
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

/// Warms the model up, however long it is away; false where `shutdown` comes first. Not of `&Pipeline`, whose
/// transport need not be shared between threads.
async fn warm_up<P: Predictor>(
    model: &Arc<P>,
    pulse: &Pulse,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
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

/// A full batch waits behind the one that runs, so that the inference thread never idles.
pub(super) const BATCHES_AHEAD: usize = 2;

/// What answers may take between the model and their settlement, whatever their messages took: one of 30 bytes
/// may ask for 10,000. An eighth of the 512 MiB that `deploy/` gives a pod.
const ANSWER_BYTES: usize = 64 << 20;

/// Of how many inputs answers may wait, each of so many bytes: no more messages are received above that,
/// and no later message is begun before an earlier one.
pub(super) fn most_answers(output_bytes: usize) -> usize {
    (ANSWER_BYTES / output_bytes.max(1)).max(1)
}

type Eventually<O> = FuturesUnordered<Pin<Box<dyn Future<Output = O> + Send>>>;

struct Runner<T: Transport, P: Predictor, C: Codec, S> {
    given: Pipeline<T, P, C, S>,
    /// Those that the codec may name.
    topics: Vec<Arc<str>>,
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
    /// At most one write at a time, so that outcomes keep their order without a second queue; a slow sink slows
    /// intake down through the bound on messages in flight.
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
        given: Pipeline<T, P, C, S>,
        decoder: Decoder<C>,
        inference: Inference<P::Input, P::Output>,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            pace: Pace::new(&given.config.batch),
            refusals: Refusals::new(given.config.on_error.max_consecutive),
            most_answers: most_answers(given.codec.output_bytes()),
            topics: given.codec.topics(),
            given,
            decoder,
            inference,
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
        let mut shutdown = pin!(shutdown);
        let sink = Arc::clone(&self.given.sink);
        let mut broken = pin!(sink.ended());
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
                    self.deadline = Some(self.grace_over());
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
                    self.given.pulse.leave(Place::Sink, 1);
                    fail_point!(AfterSink);
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
                        self.given.transport.enter(Stage::Infer).await;
                    }
                    self.given.pulse.leave(Place::Decode, batch.len());
                    for (sequence, request) in batch {
                        self.decoded(sequence, request, at)?;
                    }
                }
                received = receive(&mut self.given.transport, limits, self.back_off_until),
                    if limits.max_messages > 0 => self.received(received)?,
            }
        }
    }

    /// When the grace is over that begins now.
    fn grace_over(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.given.config.grace_ms)
    }

    /// What may be received now; no messages while there is no room or the pipeline drains.
    fn limits(&self) -> Limits {
        let batch = &self.given.config.batch;
        let bytes = self.in_flight.bytes();
        let has_room = bytes < batch.max_bytes.max(1) && self.answers < self.most_answers;
        let room = if has_room && self.deadline.is_none() {
            batch.max_messages.max(1).saturating_sub(self.messages)
        } else {
            0
        };
        // An idle model never waits: what there is, is received at once.
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
