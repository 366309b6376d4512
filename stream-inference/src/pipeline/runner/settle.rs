//! From ends to settled messages: outcomes, the sink, the broker's answer, the observers.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::Runner;
use crate::{
    codec::Codec,
    pipeline::{
        Answered, OnErrorAction, PipelineError, Sink, SinkError,
        in_flight::{End, Message},
        meters::{Meters, Rejected},
        pulse::Place,
        shield,
        spans::Spans,
    },
    predict::Predictor,
    transport::{
        Delivery, Outcome, Rejection, Settlement, TraceContext, Transport, TransportError,
    },
};

type Outcomes<T> = Vec<(Delivery<T>, Outcome)>;

/// Messages that end together, and what goes with them.
pub(super) struct Written<T, C: Codec> {
    outcomes: Outcomes<T>,
    along: Along<C>,
}

/// What goes along with outcomes, from the sink to who observes.
struct Along<C: Codec> {
    /// What the messages take, and how many of their inputs are answered.
    bytes: usize,
    inputs: usize,
    records: Vec<Answered<C::Record, C::Input>>,
    spans: Spans,
    /// When the first of the messages was received.
    received: Instant,
    /// Why the sink did not confirm.
    failure: Option<String>,
}

pub(super) struct Settled<C: Codec> {
    messages: usize,
    answered: usize,
    rejected: Rejected,
    took: Duration,
    result: Result<Settlement, TransportError>,
    along: Along<C>,
}

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
        let keep = S::RECORDS || self.observer.as_ref().is_some_and(|o| o.receiver_count() > 0);
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
                    let outcome = match self.config.record_only {
                        true => {
                            self.refusals.answered();
                            Outcome::Recorded
                        }
                        false => self.encoded(&result.record, &delivery, trace)?,
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
            let backoff = Duration::from_millis(self.config.on_error.backoff_ms);
            let (sink, meters) = (Arc::clone(&self.sink), Arc::clone(&self.meters));
            self.pulse.enter(Place::Sink, 1);
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
        match shield::encode(&*self.codec, record, delivery.key.as_ref(), &self.topics) {
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
                tracing::warn!(id, stage = %rejection.stage, "message refused");
                if self.config.on_error.action == OnErrorAction::Stop {
                    let Rejection { stage, reason } = rejection;
                    return Err(PipelineError::Refused { id: id.clone(), stage, reason });
                }
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
        self.pulse.enter(Place::Settle, 1);
        let settlement = self.transport.settle(outcomes);
        self.settling.push(Box::pin(async move {
            let result = settlement.await;
            Settled { messages, answered, rejected, took: begun.elapsed(), result, along }
        }));
    }

    pub(super) fn settled(&mut self, settled: Settled<C>) -> Result<(), PipelineError> {
        if self.deadline.is_some() {
            crate::fail_point!(InDrain);
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
        self.pulse.settled(self.messages, ended, messages.saturating_sub(ended), failure);
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
        let Some(observer) = &self.observer else { return Ok(()) };
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

/// Writes the records; when the sink fails, their messages are handed back after `backoff`.
async fn write<T: Send, C: Codec, S: Sink<C::Record, C::Input>>(
    sink: Arc<S>,
    mut written: Written<T, C>,
    backoff: Duration,
    meters: Arc<Meters>,
) -> Written<T, C> {
    let begun = Instant::now();
    let writing =
        AssertUnwindSafe(async { sink.write(&written.along.records).await }).catch_unwind();
    let confirmed = writing.await.unwrap_or_else(|_| {
        Err(SinkError { context: "the sink panicked".to_owned(), source: None })
    });
    meters.sunk(begun.elapsed());
    if let Err(error) = confirmed {
        tracing::warn!(error = &error as &dyn std::error::Error, "the sink did not confirm");
        tokio::time::sleep(backoff).await;
        written.along.records.clear();
        written.along.failure = Some(error.to_string());
        for (_, outcome) in &mut written.outcomes {
            if outcome.is_answer() {
                *outcome = Outcome::Retry;
            }
        }
    }
    written
}
