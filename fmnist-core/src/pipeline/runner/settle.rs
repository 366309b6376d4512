//! From verdicts to settled messages: outcomes, the sink, the broker's answer, the observers.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::Runner;
use crate::{
    classifier::Infer,
    pipeline::{
        Answered, PipelineError, Sink, SinkError,
        in_flight::{Done, Verdict},
        meters::{Meters, Rejected},
        pulse::Place,
        spans::Spans,
    },
    transport::{Delivery, Outcome, Settlement, Transport, TransportError},
};

type Verdicts<T> = Vec<(Delivery<T>, Outcome)>;

pub(super) struct Written<T> {
    verdicts: Verdicts<T>,
    /// What the messages take, and how many of their images are answered.
    bytes: usize,
    images: usize,
    records: Vec<Answered>,
    spans: Spans,
    /// When the first of the messages was received.
    received: Instant,
    /// Why the sink did not confirm.
    failure: Option<String>,
}

pub(super) struct Settled {
    messages: usize,
    bytes: usize,
    images: usize,
    answered: usize,
    rejected: Rejected,
    received: Instant,
    took: Duration,
    records: Vec<Answered>,
    spans: Spans,
    failure: Option<String>,
    result: Result<Settlement, TransportError>,
}

impl<T: Transport, M: Infer, S: Sink> Runner<T, M, S> {
    /// Sends what is ready to the sink, or straight to the broker where there is none.
    pub(super) fn flush(&mut self) {
        if !self.in_flight.has_ready() || !self.sinking.is_empty() {
            return;
        }
        let keep = S::RECORDS || self.observer.as_ref().is_some_and(|o| o.receiver_count() > 0);
        let begun = Instant::now();
        let (spans, received) = (Spans::default(), begun);
        let (verdicts, records, failure) = (Vec::new(), Vec::new(), None);
        let (bytes, images) = (0, 0);
        let mut written = Written { verdicts, bytes, images, records, spans, received, failure };
        for Done { delivery, verdict, received, bytes } in self.in_flight.take_ready() {
            written.received = written.received.min(received);
            written.bytes += bytes;
            let trace = written.spans.begin(&delivery, &verdict, received);
            let outcome = match verdict {
                Verdict::Answer(answered) => {
                    written.images += answered.record.predictions.len();
                    let outcome = match self.config.record_only {
                        true => Outcome::Recorded,
                        false => {
                            let max_bytes = self.config.results.max_result_bytes;
                            let mut parts =
                                answered.record.outbound(delivery.key.as_ref(), max_bytes);
                            if let Some(trace) = &trace {
                                parts.iter_mut().for_each(|part| trace.write(&mut part.attributes));
                            }
                            Outcome::Publish(parts)
                        }
                    };
                    if keep {
                        written.records.push(answered);
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
    }

    pub(super) fn settle(&mut self, written: Written<T::Token>) {
        let Written { verdicts, bytes, images, records, spans, received, failure } = written;
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
                images,
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

    pub(super) fn settled(&mut self, settled: Settled) -> Result<(), PipelineError> {
        if self.deadline.is_some() {
            crate::fail_point!(InDrain);
        }
        self.messages -= settled.messages;
        self.answers -= settled.images;
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
        if settlement.published + settlement.recorded == settled.answered {
            for answered in settled.records {
                // An error means that nobody watches.
                let _ = observer.send(Arc::new(answered.record));
            }
        }
        Ok(())
    }
}

/// Writes the records; when the sink fails, their messages are handed back after `backoff`.
async fn write<T: Send, S: Sink>(
    sink: Arc<S>,
    mut written: Written<T>,
    backoff: Duration,
    meters: Arc<Meters>,
) -> Written<T> {
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
