//! From reception to inputs that wait: what is received, and what the decode thread made of it.

use std::{mem::take, time};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Runner, ended};
use crate::{
    codec::{Codec, Request},
    pipeline::{
        PipelineError, Sink, budget,
        outage::Pauses,
        pulse::Place,
        schedule::Sequence,
        worker::{Read, ToRead, Unread},
    },
    predict::Predictor,
    transport::{Delivery, Rejection, Transport, TransportError},
};

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
                self.pulse.unreachable(&error);
                let wait = self.pauses.next();
                tracing::warn!(error = &error as &dyn std::error::Error, ?wait, "cannot receive");
                self.back_off_until = Some(Instant::now() + wait);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        crate::fail_point!(AfterRecv);
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
            if self.in_flight.bytes() - sent_bytes >= budget::DECODE_BYTES && !batch.is_empty() {
                sent_bytes = self.in_flight.bytes();
                self.decode((now, take(&mut batch)))?;
            }
        }
        if !batch.is_empty() {
            self.decode((now, batch))?;
        }
        self.pulse.received(count, self.messages, self.limits().max_messages == 0);
        self.meters.received(count);
        self.meters.in_flight(self.messages, self.in_flight.bytes());
        self.pulse.leave(Place::Decode, given_up.len());
        given_up.into_iter().try_for_each(|(sequence, rejection)| self.refuse(sequence, rejection))
    }

    fn decode(&self, batch: ToRead) -> Result<(), PipelineError> {
        // Batches in the channel hold at least one message each, so there is always room.
        self.decoder.input.try_send(batch).map_err(|_| ended("decode"))
    }

    /// Whether the next crash of the message would be one too many, so that its stage matters.
    pub(super) fn is_about_to_be_given_up(&self, batch: &Read<C>) -> bool {
        let [(sequence, _)] = batch[..] else { return false };
        let crashes = self.transport.crashes(&self.in_flight.message(sequence).delivery);
        crashes.is_some_and(|crashes| crashes.count + 1 >= self.config.on_error.crashes)
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
}
