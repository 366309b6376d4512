//! A message's way from its end to its settlement: outcomes, the sink, the broker's answer, the observers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Runner;
use crate::{
    codec::Codec,
    pipeline::{
        PipelineError, Sink,
        in_flight::{End, Message},
        meters::Rejected,
        outcomes::{Along, Settled, Written, write},
        pulse::Place,
        spans::Spans,
    },
    predict::Predictor,
    shield,
    transport::{Delivery, Outcome, TraceContext, Transport, TransportError},
};

impl<T, P, C, S> Runner<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    /// Sends what is ready to the sink, or straight to the broker where there is none.
    pub(super) fn flush(&mut self) -> Result<(), PipelineError> {
        if !self.in_flight.has_ready() || !self.sinking.is_empty() {
            return Ok(());
        }
        let keep =
            S::RECORDS || self.given.observer.as_ref().is_some_and(|o| o.receiver_count() > 0);
        let begun = Instant::now();
        let (bytes, inputs, records, spans) = (0, 0, Vec::new(), Spans::default());
        let mut along = Along { bytes, inputs, records, spans, received: begun, failure: None };
        let mut outcomes = Vec::new();
        for (message, end) in self.in_flight.take_ready() {
            along.received = along.received.min(message.received);
            along.bytes += message.bytes;
            let trace = along.spans.begin(&message, &end);
            let Message { delivery, .. } = message;
            let outcome = match end {
                End::Answer(result, inputs) => {
                    along.inputs += inputs;
                    let outcome = if self.given.config.record_only {
                        self.refusals.answered();
                        Outcome::Recorded
                    } else {
                        self.encoded(&result.record, &delivery, trace)?
                    };
                    if keep && outcome.is_answer() {
                        along.records.push(result);
                    }
                    outcome
                }
                End::Reject(rejection) => Outcome::Reject(rejection),
                End::Retry => Outcome::Retry,
            };
            outcomes.push((delivery, outcome));
        }
        let written = Written { outcomes, along };
        self.meters.encoded(begun.elapsed());
        if S::RECORDS && !written.along.records.is_empty() {
            let backoff = Duration::from_millis(self.given.config.on_error.backoff_ms);
            let (sink, meters) = (Arc::clone(&self.given.sink), Arc::clone(&self.meters));
            self.given.pulse.enter(Place::Sink, 1);
            self.sinking.push(Box::pin(write(sink, written, backoff, meters)));
        } else {
            self.settle(written);
        }
        Ok(())
    }

    /// What is published for a record.
    fn encoded(
        &mut self,
        record: &C::Record,
        delivery: &Delivery<T::Token>,
        trace: Option<TraceContext>,
    ) -> Result<Outcome, PipelineError> {
        match shield::encode(&*self.given.codec, record, delivery.key.as_ref(), &self.topics) {
            Ok(mut parts) => {
                self.refusals.answered();
                if parts.is_empty() {
                    return Ok(Outcome::Filtered);
                }
                if let Some(trace) = &trace {
                    parts.iter_mut().for_each(|part| trace.write(&mut part.attributes));
                }
                Ok(Outcome::Publish(parts))
            }
            Err(rejection) => {
                let id = &delivery.id;
                self.check_refusal(id, &rejection)?;
                self.refusals.count(id, &rejection)?;
                Ok(Outcome::Reject(rejection))
            }
        }
    }

    pub(super) fn settle(&mut self, written: Written<T::Token, C>) {
        let Written { outcomes, along } = written;
        let messages = outcomes.len();
        let answered = outcomes.iter().filter(|(_, outcome)| outcome.is_answer()).count();
        let mut rejected = Rejected::default();
        outcomes.iter().for_each(|(_, outcome)| rejected.count(outcome));
        let begun = Instant::now();
        self.given.pulse.enter(Place::Settle, 1);
        let settlement = self.given.transport.settle(outcomes);
        self.settling.push(Box::pin(async move {
            let result = settlement.await;
            Settled { messages, answered, rejected, took: begun.elapsed(), result, along }
        }));
    }

    pub(super) fn settled(&mut self, settled: Settled<C>) -> Result<(), PipelineError> {
        if self.deadline.is_some() {
            fail_point!(InDrain);
        }
        let Settled { messages, answered, rejected, took, result, along } = settled;
        self.messages -= messages;
        self.answers -= along.inputs;
        self.in_flight.settled(along.bytes);
        self.meters.in_flight(self.messages, self.in_flight.bytes());
        let (ended, failure) = match &result {
            Ok(settlement) => (settlement.ended(), along.failure),
            Err(error) => (0, Some(error.to_string())),
        };
        self.given.pulse.settled(self.messages, ended, messages.saturating_sub(ended), failure);
        along.spans.end(result.is_ok());
        let settlement = match result {
            Ok(settlement) => settlement,
            Err(error @ TransportError::Aborted { .. }) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "not settled");
                self.report.settlement.retried += messages;
                self.meters.retried(messages);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.report.settlement += settlement;
        self.meters.settled(&settlement, rejected, took, along.received);
        let Some(observer) = &self.given.observer else { return Ok(()) };
        // Which of a batch went stale is not known: then none of it is shown before it comes again.
        if settlement.published + settlement.recorded + settlement.filtered == answered {
            for answered in along.records {
                // An error means that nobody watches.
                let _ = observer.send(Arc::new(answered.record));
            }
        }
        Ok(())
    }
}
