mod settle;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{self, Duration},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::{
    sync::broadcast,
    time::{Instant, sleep_until},
};

use settle::{Settled, Written};

use super::{
    OnErrorAction, Pipeline, PipelineConfig, PipelineError, PipelineReport, Pulse, Sink,
    in_flight::{InFlight, Refused, Verdict},
    meters::Meters,
    pace::Pace,
    pulse::Place,
    schedule::{Schedule, Sequence},
    worker::{self, Decoded, Decoder, Inference, Inferred, Received},
};
use crate::{
    classifier::Infer,
    image::Image,
    message::ResultRecord,
    transport::{Delivery, Limits, Rejection, Stage, Transport, TransportError},
};

/// A full batch waits behind the one that runs, so that the inference thread never idles.
pub(super) const BATCHES_AHEAD: usize = 2;
/// Failing messages whose attempts are remembered where the broker does not count them.
const REMEMBERED_FAILURES: usize = 10_000;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

type Eventually<O> = FuturesUnordered<Pin<Box<dyn Future<Output = O> + Send>>>;

pub(super) async fn run<T: Transport, M: Infer, S: Sink>(
    pipeline: Pipeline<T, M, S>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PipelineReport, PipelineError> {
    let capacity = pipeline.config.batch.max_messages.max(1);
    let meters = Arc::new(Meters::new(pipeline.transport.name(), pipeline.model.identity()));
    let decoder = worker::decoder(capacity, pipeline.test_images.len(), Arc::clone(&meters));
    let inference =
        worker::inference(Arc::clone(&pipeline.model), BATCHES_AHEAD, Arc::clone(&meters));
    run_with(pipeline, decoder, inference, meters, shutdown).await
}

/// [`run`], with the two threads and the meters given.
pub(super) async fn run_with<T: Transport, M: Infer, S: Sink>(
    pipeline: Pipeline<T, M, S>,
    decoder: Decoder<T::Token>,
    inference: Inference,
    meters: Arc<Meters>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PipelineReport, PipelineError> {
    pipeline.pulse.measure(&meters);
    let mut runner = Runner::new(pipeline, decoder, inference, meters);
    let stopped = runner.run(shutdown).await;
    let grace = Duration::from_millis(runner.config.grace_ms);
    crate::fail_point!(InDrain);
    let left = runner.deadline.map_or(grace, |deadline| deadline - Instant::now());
    let Runner { transport, report, .. } = runner;
    let drained = transport.drain(left.max(Duration::from_secs(1))).await;
    stopped?;
    drained?;
    Ok(report)
}

struct Runner<T: Transport, M, S> {
    transport: T,
    model: Arc<M>,
    test_images: Arc<[Image]>,
    config: PipelineConfig,
    sink: Arc<S>,
    observer: Option<broadcast::Sender<Arc<ResultRecord>>>,
    pulse: Pulse,
    meters: Arc<Meters>,

    decoder: Decoder<T::Token>,
    inference: Inference,
    in_flight: InFlight<T::Token>,
    schedule: Schedule,
    pace: Pace,
    batches_ahead: usize,
    /// Messages and payload bytes that were received and not yet settled.
    messages: usize,
    bytes: usize,
    /// At most one write at a time, so that verdicts keep their order.
    sinking: Eventually<Written<T::Token>>,
    settling: Eventually<Settled>,
    /// Messages that are handed back once their back-off is over.
    delayed: Eventually<(Sequence, Delivery<T::Token>)>,
    failures: HashMap<String, u32>,
    backoff: Option<Backoff>,
    deadline: Option<Instant>,
    report: PipelineReport,
}

struct Backoff {
    wait: Duration,
    until: Instant,
}

impl<T: Transport, M: Infer, S: Sink> Runner<T, M, S> {
    fn new(
        pipeline: Pipeline<T, M, S>,
        decoder: Decoder<T::Token>,
        inference: Inference,
        meters: Arc<Meters>,
    ) -> Self {
        let Pipeline { transport, model, test_images, config, sink, observer, pulse } = pipeline;
        Self {
            pace: Pace::new(&config.batch),
            decoder,
            inference,
            transport,
            model,
            test_images,
            config,
            sink: Arc::new(sink),
            observer,
            pulse,
            meters,
            in_flight: InFlight::new(),
            schedule: Schedule::default(),
            batches_ahead: 0,
            messages: 0,
            bytes: 0,
            sinking: Eventually::new(),
            settling: Eventually::new(),
            delayed: Eventually::new(),
            failures: HashMap::new(),
            backoff: None,
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
            self.flush();
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
                Some((sequence, delivery)) = self.delayed.next() => {
                    self.in_flight.finish(sequence, delivery, Verdict::Retry);
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
                    batch.into_iter().try_for_each(|decoded| self.decoded(decoded, at))?;
                }
                received = receive(&mut self.transport, limits, self.backoff.as_ref()),
                    if limits.max_messages > 0 => self.received(received)?,
            }
        }
    }

    /// What may be received now; no messages while there is no room or the pipeline drains.
    fn limits(&self) -> Limits {
        let batch = &self.config.batch;
        let room = match self.bytes < batch.max_bytes.max(1) && self.deadline.is_none() {
            true => batch.max_messages.max(1).saturating_sub(self.messages),
            false => 0,
        };
        let idle = self.batches_ahead == 0;
        let max_wait = if idle { 0 } else { batch.max_wait_ms };
        Limits {
            max_messages: room,
            max_bytes: batch.max_bytes.saturating_sub(self.bytes),
            max_wait: Duration::from_millis(max_wait),
        }
    }

    fn received(
        &mut self,
        received: Result<Vec<Delivery<T::Token>>, TransportError>,
    ) -> Result<(), PipelineError> {
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            Err(error @ TransportError::Unavailable { .. }) => {
                self.pulse.unreachable(&error);
                let last = self.backoff.take();
                let wait = last.map_or(FIRST_BACKOFF, |b| (b.wait * 2).min(LONGEST_BACKOFF));
                tracing::warn!(error = &error as &dyn std::error::Error, ?wait, "cannot receive");
                self.backoff = Some(Backoff { wait, until: Instant::now() + wait });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        crate::fail_point!(AfterRecv);
        self.backoff = None;
        self.messages += deliveries.len();
        self.bytes += deliveries.iter().map(|d| d.payload.len()).sum::<usize>();
        let is_full = self.limits().max_messages == 0;
        self.pulse.received(deliveries.len(), self.messages, is_full);
        self.meters.received(deliveries.len());
        self.meters.in_flight(self.messages, self.bytes);
        let (at, now) = (Timestamp::now(), time::Instant::now());
        let mut batch = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let given_up = self.given_up(&delivery);
            let received = self.in_flight.receive(delivery, at, now);
            match given_up {
                None => batch.push(received),
                Some(rejection) => {
                    self.pulse.leave(Place::Decode, 1);
                    self.refuse(received, rejection)?;
                }
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Batches in the channel hold at least one message each, so there is always room.
        self.decoder.input.try_send(batch).map_err(|_| ended("decode"))
    }

    /// Why the message is not tried again, if it has ended the process too often.
    fn given_up(&self, delivery: &Delivery<T::Token>) -> Option<Rejection> {
        let crashes = self.transport.crashes(delivery)?;
        (crashes.count >= self.config.on_error.crashes).then(|| crashes.rejection())
    }

    /// Whether the next crash of the message would be one too many, so that its stage matters.
    fn is_about_to_be_given_up(&self, batch: &[Decoded<T::Token>]) -> bool {
        let [Decoded { received, .. }] = batch else { return false };
        let crashes = self.transport.crashes(&received.delivery);
        crashes.is_some_and(|crashes| crashes.count + 1 >= self.config.on_error.crashes)
    }

    fn decoded(
        &mut self,
        decoded: Decoded<T::Token>,
        at: time::Instant,
    ) -> Result<(), PipelineError> {
        let sequence = decoded.received.sequence;
        match self.in_flight.decoded(decoded, self.sink.keeps_images()) {
            Ok(request) => {
                self.schedule.push(sequence, request, at);
                Ok(())
            }
            Err(refused) => {
                let Refused { received, rejection } = *refused;
                self.refuse(received, rejection)
            }
        }
    }

    /// Hands images to the inference thread: what there is when it idles, else full batches.
    fn dispatch(&mut self) -> Result<(), PipelineError> {
        let max_images = self.pace.limit(self.schedule.messages());
        while self.batches_ahead == 0
            || (self.batches_ahead < BATCHES_AHEAD && self.schedule.images() >= max_images)
        {
            let Some(batch) = self.schedule.next_batch(max_images, &self.test_images) else {
                break;
            };
            self.report.batches += 1;
            self.batches_ahead += 1;
            self.pulse.enter(Place::Infer, 1);
            self.inference.input.try_send(batch).map_err(|_| ended("inference"))?;
        }
        Ok(())
    }

    fn inferred(&mut self, inferred: Inferred) -> Result<(), PipelineError> {
        crate::fail_point!(AfterInfer);
        let Inferred { shares, answers, at, took } = inferred;
        self.pace.observe(answers.len(), took);
        self.batches_ahead -= 1;
        self.pulse.leave(Place::Infer, 1);
        self.report.images += answers.len();
        let mut answers = answers.into_iter();
        let model = Arc::clone(&self.model);
        let top_k = self.config.results.top_k;
        for (sequence, count) in shares {
            let share = answers.by_ref().take(count);
            let complete = self.in_flight.answer(sequence, |answer| {
                share.for_each(|prediction| answer.push(prediction, &*model, top_k));
            });
            let Some((received, answer)) = complete else { continue };
            match answer.finish(&received, &*model, at) {
                Ok(answered) => {
                    self.failures.remove(&answered.record.id);
                    let verdict = Verdict::Answer(answered);
                    self.in_flight.finish(sequence, received.delivery, verdict);
                }
                Err(rejection) => self.refuse(received, rejection)?,
            }
        }
        Ok(())
    }

    /// Ends a message that cannot be answered as the configuration says.
    fn refuse(
        &mut self,
        received: Received<T::Token>,
        rejection: Rejection,
    ) -> Result<(), PipelineError> {
        let Received { sequence, delivery, .. } = received;
        let id = &delivery.id;
        // Without the reason, which may quote the payload; the dead letter has it.
        tracing::warn!(id, stage = %rejection.stage, "message refused");
        match self.config.on_error.action {
            OnErrorAction::Stop => {
                let Rejection { stage, reason } = rejection;
                return Err(PipelineError::Refused { id: delivery.id, stage, reason });
            }
            OnErrorAction::Retry
                if rejection.stage == Stage::Infer && self.given_up(&delivery).is_none() =>
            {
                if self.count_attempt(&delivery) < self.config.on_error.attempts {
                    let wait = Duration::from_millis(self.config.on_error.backoff_ms);
                    self.delayed.push(Box::pin(async move {
                        tokio::time::sleep(wait).await;
                        (sequence, delivery)
                    }));
                    return Ok(());
                }
                self.failures.remove(id);
            }
            OnErrorAction::Retry | OnErrorAction::DeadLetter => {}
        }
        self.in_flight.finish(sequence, delivery, Verdict::Reject(rejection));
        Ok(())
    }

    /// How often this message has failed, by the broker's count where it is higher.
    fn count_attempt(&mut self, delivery: &Delivery<T::Token>) -> u32 {
        if self.failures.len() >= REMEMBERED_FAILURES {
            self.failures.clear();
        }
        let counted = self.failures.entry(delivery.id.clone()).or_default();
        *counted += 1;
        (*counted).max(delivery.attempt.unwrap_or(0))
    }
}

fn ended(thread: &'static str) -> PipelineError {
    PipelineError::ThreadEnded { thread }
}

/// Cancel safe, as [`Transport::recv`] is.
async fn receive<T: Transport>(
    transport: &mut T,
    limits: Limits,
    backoff: Option<&Backoff>,
) -> Result<Vec<Delivery<T::Token>>, TransportError> {
    if let Some(backoff) = backoff {
        sleep_until(backoff.until).await;
    }
    transport.recv(limits).await
}
