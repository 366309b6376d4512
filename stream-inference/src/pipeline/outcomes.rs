//! Messages that end together: their outcomes on the way through the sink to the broker, and what goes along
//! with them to the meters and to who observes. Made by the runner; a sink sees records before the broker
//! does.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::{
    Sink, SinkError,
    in_flight::AnsweredOf,
    meters::{Meters, Rejected},
    spans::Spans,
};
use crate::{
    codec::Codec,
    transport::{Delivery, Outcome, Settlement, TransportError},
};

/// Messages that end together, and what goes with them.
pub(super) struct Written<T, C: Codec> {
    pub(super) outcomes: Vec<(Delivery<T>, Outcome)>,
    pub(super) along: Along<C>,
}

/// What goes along with outcomes, from the sink to who observes.
pub(super) struct Along<C: Codec> {
    /// What the messages take, and how many of their inputs are answered.
    pub(super) bytes: usize,
    pub(super) inputs: usize,
    pub(super) records: Vec<AnsweredOf<C>>,
    pub(super) spans: Spans,
    /// When the first of the messages was received.
    pub(super) received: Instant,
    /// Why the sink did not confirm.
    pub(super) failure: Option<String>,
}

/// The same, carried out, or not.
pub(super) struct Settled<C: Codec> {
    pub(super) messages: usize,
    pub(super) answered: usize,
    pub(super) rejected: Rejected,
    pub(super) took: Duration,
    pub(super) result: Result<Settlement, TransportError>,
    pub(super) along: Along<C>,
}

/// Writes the records; when the sink fails, their messages are handed back after `backoff`.
pub(super) async fn write<T: Send, C: Codec, S: Sink<C::Record, C::Input>>(
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
