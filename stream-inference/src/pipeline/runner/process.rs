//! A message's way from its reception to its end: read, batched, answered, or refused. Everything here runs
//! on the loop; what takes long is handed to a thread, and comes back.

use std::{
    mem::take,
    time::{self, Duration},
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{BATCHES_AHEAD, Runner, ended};
use crate::{
    codec::{Codec, Request},
    pipeline::{
        OnErrorAction, PipelineError, Sink,
        in_flight::{Answer, End},
        pulse::{Pauses, Place},
        schedule::Sequence,
        worker::{Inferred, Read, ToRead, Unread},
    },
    predict::Predictor,
    transport::{Delivery, Rejection, Stage, Transport, TransportError},
};

/// What one piece of work for the decode thread has, unless a single message has more: pictures take
/// long to decode, and what was read goes on before the rest is.
const DECODE_BYTES: usize = 1 << 20;

impl<T, P, C, S> Runner<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    pub(super) fn received(
        &mut self,
        received: Result<Vec<Delivery<T::Token>>, TransportError>,
    ) -> Result<(), PipelineError> {
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            Err(error @ TransportError::Unavailable { .. }) => {
                self.given.pulse.unreachable(&error);
                let wait = self.pauses.next();
                tracing::warn!(error = &error as &dyn std::error::Error, ?wait, "cannot receive");
                self.back_off_until = Some(Instant::now() + wait);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        fail_point!(AfterRecv);
        (self.pauses, self.back_off_until) = (Pauses::default(), None);
        let count = deliveries.len();
        self.messages += count;
        let (at, now) = (Timestamp::now(), time::Instant::now());
        let mut sent_bytes = self.in_flight.bytes();
        let (mut batch, mut given_up) = (Vec::with_capacity(count), Vec::new());
        for delivery in deliveries {
            let unread = self.given_up(&delivery).map_or_else(|| Ok(Unread::of(&delivery)), Err);
            let sequence = self.in_flight.receive(delivery, at, now);
            match unread {
                Ok(unread) => batch.push((sequence, unread)),
                Err(rejection) => given_up.push((sequence, rejection)),
            }
            if self.in_flight.bytes() - sent_bytes >= DECODE_BYTES && !batch.is_empty() {
                sent_bytes = self.in_flight.bytes();
                self.decode((now, take(&mut batch)))?;
            }
        }
        if !batch.is_empty() {
            self.decode((now, batch))?;
        }
        self.given.pulse.received(count, self.messages, self.limits().max_messages == 0);
        self.meters.received(count);
        self.meters.in_flight(self.messages, self.in_flight.bytes());
        self.given.pulse.leave(Place::Decode, given_up.len());
        given_up.into_iter().try_for_each(|(sequence, rejection)| self.refuse(sequence, rejection))
    }

    fn decode(&self, batch: ToRead) -> Result<(), PipelineError> {
        // Batches in the channel hold at least one message each, so there is always room.
        self.decoder.input.try_send(batch).map_err(|_| ended("decode"))
    }

    /// Whether the next crash of the message would be one too many, so that its stage matters.
    pub(super) fn is_about_to_be_given_up(&self, batch: &Read<C>) -> bool {
        let [(sequence, _)] = batch[..] else { return false };
        let crashes = self.given.transport.crashes(&self.in_flight.message(sequence).delivery);
        crashes.is_some_and(|crashes| crashes.count + 1 >= self.given.config.on_error.crashes)
    }

    pub(super) fn decoded(
        &mut self,
        sequence: Sequence,
        request: Result<Request<C>, Rejection>,
        at: time::Instant,
    ) -> Result<(), PipelineError> {
        match request {
            Ok(request) => {
                let inputs = self.in_flight.decoded(sequence, request);
                let max_inputs = self.pace.limit(self.schedule.messages() + 1);
                self.schedule.push(sequence, inputs, at, max_inputs);
                Ok(())
            }
            Err(rejection) => self.refuse(sequence, rejection),
        }
    }

    /// Hands inputs to the inference thread: what there is when it idles, else full batches.
    pub(super) fn dispatch(&mut self) -> Result<(), PipelineError> {
        let max_inputs = self.pace.limit(self.schedule.messages());
        // What is on its way out will make room for answers. Where nothing is, answers wait for
        // earlier messages of their lanes, and so those come first.
        let has_room = self.answers < self.most_answers;
        if !has_room && self.is_settling() {
            return Ok(());
        }
        while self.batches_ahead == 0
            || (self.batches_ahead < BATCHES_AHEAD && self.schedule.inputs() >= max_inputs)
        {
            let batch = if has_room {
                self.schedule.next_batch(max_inputs)
            } else {
                self.schedule.oldest(max_inputs)
            };
            let Some(batch) = batch else { break };
            for &(sequence, missing) in &batch.short {
                let shortened = self.in_flight.answer(sequence, |answer| answer.shorten(missing));
                if let Some(answer) = shortened {
                    self.complete(sequence, answer, Timestamp::now())?;
                }
            }
            if batch.inputs.is_empty() {
                continue;
            }
            self.report.batches += 1;
            self.batches_ahead += 1;
            self.given.pulse.enter(Place::Infer, 1);
            self.inference.input.try_send(batch).map_err(|_| ended("inference"))?;
        }
        Ok(())
    }

    fn is_settling(&self) -> bool {
        self.in_flight.has_ready() || !self.sinking.is_empty() || !self.settling.is_empty()
    }

    pub(super) fn inferred(&mut self, inferred: Inferred<C::Output>) -> Result<(), PipelineError> {
        fail_point!(AfterInfer);
        let Inferred { shares, answers, model, at, took } = inferred;
        self.pace.observe(answers.len(), took);
        self.batches_ahead -= 1;
        self.given.pulse.leave(Place::Infer, 1);
        self.report.inputs += answers.len();
        self.answers += answers.len();
        let mut answers = answers.into_iter();
        for (sequence, count) in shares {
            let share = answers.by_ref().take(count);
            let complete = self
                .in_flight
                .answer(sequence, |answer| answer.extend(share, &model, &self.given.codec));
            if let Some(answer) = complete {
                self.complete(sequence, answer, at)?;
            }
        }
        Ok(())
    }

    /// Ends a message all of whose inputs are answered.
    fn complete(
        &mut self,
        sequence: Sequence,
        answer: Answer<C>,
        at: Timestamp,
    ) -> Result<(), PipelineError> {
        let (inputs, message) = (answer.inputs(), self.in_flight.message(sequence));
        let end = match answer.finish(message, &*self.given.codec, at) {
            Ok(Some(answered)) => {
                self.failures.forget(&message.delivery.id);
                End::Answer(answered, inputs)
            }
            Ok(None) => {
                self.answers -= inputs;
                End::Retry
            }
            Err(rejection) => {
                self.answers -= inputs;
                return self.refuse(sequence, rejection);
            }
        };
        self.in_flight.finish(sequence, end);
        Ok(())
    }

    /// Why the message is not tried again, if it has ended the process too often.
    fn given_up(&self, delivery: &Delivery<T::Token>) -> Option<Rejection> {
        let crashes = self.given.transport.crashes(delivery)?;
        let limit = self.given.config.on_error.crashes;
        (limit > 0 && crashes.count >= limit).then(|| crashes.rejection())
    }

    /// Says that a message is refused; an error where the configuration says stop.
    pub(super) fn check_refusal(
        &self,
        id: &str,
        rejection: &Rejection,
    ) -> Result<(), PipelineError> {
        // Without the reason, which may quote the payload; the dead letter has it.
        tracing::warn!(id, stage = %rejection.stage, "message refused");
        if self.given.config.on_error.action != OnErrorAction::Stop {
            return Ok(());
        }
        let Rejection { stage, reason } = rejection.clone();
        Err(PipelineError::Refused { id: id.to_owned(), stage, reason })
    }

    /// Ends a message that cannot be answered as the configuration says.
    pub(super) fn refuse(
        &mut self,
        sequence: Sequence,
        rejection: Rejection,
    ) -> Result<(), PipelineError> {
        let delivery = &self.in_flight.message(sequence).delivery;
        let id = &delivery.id;
        self.check_refusal(id, &rejection)?;
        let on_error = &self.given.config.on_error;
        if on_error.action == OnErrorAction::Retry
            && rejection.stage == Stage::Infer
            && self.given_up(delivery).is_none()
        {
            let failures = self.failures.count(id, delivery.attempt, time::Instant::now());
            if failures < on_error.attempts {
                let wait = Duration::from_millis(on_error.backoff_ms);
                self.delayed.push(Box::pin(async move {
                    tokio::time::sleep(wait).await;
                    sequence
                }));
                return Ok(());
            }
            self.failures.forget(id);
        }
        self.refusals.count(id, &rejection)?;
        self.in_flight.finish(sequence, End::Reject(rejection));
        Ok(())
    }
}
