//! From verdicts to settled messages: outcomes, the sink, the broker's answer, the observers.

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
        in_flight::{Done, Verdict},
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

type Verdicts<T> = Vec<(Delivery<T>, Outcome)>;

pub(super) struct Written<T, C: Codec> {
    verdicts: Verdicts<T>,
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
    bytes: usize,
    inputs: usize,
    answered: usize,
    rejected: Rejected,
    received: Instant,
    took: Duration,
    records: Vec<Answered<C::Record, C::Input>>,
    spans: Spans,
    failure: Option<String>,
    result: Result<Settlement, TransportError>,
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
        let (spans, received) = (Spans::default(), begun);
        let (verdicts, records, failure) = (Vec::new(), Vec::new(), None);
        let (bytes, inputs) = (0, 0);
        let mut written = Written { verdicts, bytes, inputs, records, spans, received, failure };
        for Done { delivery, verdict, received, bytes } in self.in_flight.take_ready() {
            written.received = written.received.min(received);
            written.bytes += bytes;
            let trace = written.spans.begin(&delivery, &verdict, received);
            let outcome = match verdict {
                Verdict::Answer(result, inputs) => {
                    written.inputs += inputs;
                    let outcome = match self.config.record_only {
                        true => {
                            self.refusals = 0;
                            Outcome::Recorded
                        }
                        false => self.encoded(&result.record, &delivery, trace)?,
                    };
                    if keep && outcome.is_answer() {
                        written.records.push(result);
                    }
                    outcome
                }
                Verdict::Reject(rejection) => Outcome::Reject(rejection),
                Verdict::Retry => Outcome::Retry,
            };
            written.verdicts.push((delivery, outcome));
        }
        self.meters.encoded(begun.elapsed());
        if S::RECORDS && !written.records.is_empty() {
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
                self.refusals = 0;
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
                self.count_refusal(id, &rejection)?;
                Ok(Outcome::Reject(rejection))
            }
        }
    }

    pub(super) fn settle(&mut self, written: Written<T::Token, C>) {
        let Written { verdicts, bytes, inputs, records, spans, received, failure } = written;
        let messages = verdicts.len();
        let answered = verdicts.iter().filter(|(_, outcome)| outcome.is_answer()).count();
        let mut rejected = Rejected::default();
        verdicts.iter().for_each(|(_, outcome)| rejected.count(outcome));
        let begun = Instant::now();
        self.pulse.enter(Place::Settle, 1);
        let settlement = self.transport.settle(verdicts);
        self.settling.push(Box::pin(async move {
            let result = settlement.await;
            let took = begun.elapsed();
            Settled {
                messages,
                bytes,
                inputs,
                answered,
                rejected,
                received,
                took,
                records,
                spans,
                failure,
                result,
            }
        }));
    }

    pub(super) fn settled(&mut self, settled: Settled<C>) -> Result<(), PipelineError> {
        if self.deadline.is_some() {
            crate::fail_point!(InDrain);
        }
        self.messages -= settled.messages;
        self.answers -= settled.inputs;
        self.in_flight.settled(settled.bytes);
        self.meters.in_flight(self.messages, self.in_flight.bytes());
        let (ended, failure) = match &settled.result {
            Ok(settlement) => (settlement.ended(), settled.failure),
            Err(error) => (0, Some(error.to_string())),
        };
        let handed_back = settled.messages.saturating_sub(ended);
        self.pulse.settled(self.messages, ended, handed_back, failure);
        settled.spans.end(settled.result.is_ok());
        let settlement = match settled.result {
            Ok(settlement) => settlement,
            Err(error @ TransportError::Aborted { .. }) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "not settled");
                self.report.settlement.retried += settled.messages;
                self.meters.retried(settled.messages);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.report.settlement += settlement;
        let Settled { rejected, took, received, .. } = settled;
        self.meters.settled(&settlement, rejected, took, received);
        let Some(observer) = &self.observer else { return Ok(()) };
        // Which of a batch went stale is not known: then none of it is shown before it comes again.
        if settlement.published + settlement.recorded + settlement.filtered == settled.answered {
            for answered in settled.records {
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
    let writing = AssertUnwindSafe(async { sink.write(&written.records).await }).catch_unwind();
    let confirmed = writing.await.unwrap_or_else(|_| {
        Err(SinkError { context: "the sink panicked".to_owned(), source: None })
    });
    meters.sunk(begun.elapsed());
    if let Err(error) = confirmed {
        tracing::warn!(error = &error as &dyn std::error::Error, "the sink did not confirm");
        tokio::time::sleep(backoff).await;
        written.records.clear();
        written.failure = Some(error.to_string());
        for (_, outcome) in &mut written.verdicts {
            if outcome.is_answer() {
                *outcome = Outcome::Retry;
            }
        }
    }
    written
}
