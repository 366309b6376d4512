//! The task that polls: it fills the buffer, pauses and resumes partitions, goes back where messages were
//! handed back, and commits the end of what is read to an end.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use rdkafka::{
    Offset,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use stream_inference::Part;
use tokio::time::Instant;

use super::ends::Ends;
use crate::{
    connect::log::REPORT_INTERVAL,
    group::{membership::Membership, rebalance::Context},
    place::{list, places},
    shared::{Shared, until},
    wire::Fetched,
};

/// How many messages that are at hand are taken before anybody is told of them.
const TOGETHER: usize = 256;
/// How soon what the client refused for now is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(20);
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long room in the buffer is waited for, without polling, before partitions are paused: pausing
/// throws away what the client has fetched ahead.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// Polls for ever: librdkafka serves rebalances and counts the poll interval only while polled.
pub(crate) async fn poll(membership: Arc<Membership>, shared: Arc<Shared>, _part: Part) {
    let consumer = &**membership;
    let mut messages = consumer.stream();
    let mut reported: Option<Instant> = None;
    loop {
        go_back(&membership, &shared).await;
        commit_ends(&membership, &shared).await;
        if !shared.state().intake.is_half_full() {
            resume(consumer, &shared);
        }
        let mut received = tokio::select! {
            // Polling first: a seek that fails until a rebalance is served must not prevent that.
            biased;
            message = messages.next() => message,
            () = shared.work.notified() => continue,
        };
        let (mut count, mut is_full) = (0, false);
        while let Some(Ok(message)) = received {
            // Before the next poll, which may serve a rebalance that takes the partition away.
            is_full = shared.push(Fetched::from(&message));
            count += 1;
            let is_enough = is_full || count == TOGETHER;
            received = if is_enough { None } else { messages.next().now_or_never().flatten() };
        }
        if count > 0 {
            shared.arrived.notify_waiters();
        }
        if is_full && !shared.has_room().await {
            pause(consumer, &shared);
        }
        match received {
            None | Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some(ends) = &mut shared.state().intake.ends {
                    ends.reached(partition);
                }
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                let reason = format!("the consumer of {} failed: {error}", shared.topic);
                return shared.supervisor.fail(reason);
            }
            Some(Err(error @ KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded))) => {
                shared.breached(error);
            }
            #[cfg(not(feature = "zstd"))]
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented))) => {
                shared.supervisor.fail(format!(
                    "topic {} has messages that are compressed with zstd, which stay there: build \
                     with the feature zstd of transport-kafka",
                    shared.topic
                ));
                return;
            }
            // The client recovers by itself and says so up to 20 times a second.
            Some(Err(error)) if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) => {
                reported = Some(Instant::now());
                shared.state().intake.unavailable = Some(error);
                shared.arrived.notify_waiters();
            }
            Some(Err(_)) => {}
        }
    }
}

/// Pauses every assigned partition that is not paused yet.
///
/// Partitions are assigned and revoked by this task alone, within a poll.
fn pause(consumer: &StreamConsumer<Context>, shared: &Shared) {
    let Ok(assigned) = consumer.assignment() else { return };
    let assigned = assigned.elements();
    let running: Vec<i32> = {
        let state = shared.state();
        let assigned = assigned.iter().map(|element| element.partition());
        assigned.filter(|partition| !state.intake.paused.contains(partition)).collect()
    };
    match consumer.pause(&list(&shared.topic, running.iter().copied())) {
        Ok(()) => shared.state().intake.paused.extend(running),
        Err(error) => tracing::debug!(%error, "partitions not paused"),
    }
}

/// Resumes what is paused, and nothing else.
fn resume(consumer: &StreamConsumer<Context>, shared: &Shared) {
    let paused = std::mem::take(&mut shared.state().intake.paused);
    if paused.is_empty() {
        return;
    }
    if let Err(error) = consumer.resume(&list(&shared.topic, paused.iter().copied())) {
        tracing::debug!(%error, "partitions not resumed");
        shared.state().intake.paused.extend(paused);
    }
}

/// Commits the end of partitions of which everything before it is done: what lies between the last
/// message and the end has no message to commit it by.
async fn commit_ends(membership: &Arc<Membership>, shared: &Arc<Shared>) {
    let finished = shared.state().intake.ends.as_ref().map(Ends::finished).unwrap_or_default();
    for (partition, end) in finished {
        let (membership, topic) = (Arc::clone(membership), Arc::clone(&shared.topic));
        let what = format!("commit the end {end} of partition {partition}");
        let commit =
            move || membership.commit(&places(&topic, [(partition, end)])?, CommitMode::Sync);
        if shared.has_done(&what, commit).await
            && let Some(ends) = &mut shared.state().intake.ends
        {
            ends.committed(partition);
        }
    }
}

/// Goes back to where messages were handed back.
async fn go_back(membership: &Arc<Membership>, shared: &Arc<Shared>) {
    let seeks = shared.state().intake.claims.seeks();
    for (partition, offset) in seeks {
        shared.state().intake.discard(partition);
        let (membership, topic) = (Arc::clone(membership), Arc::clone(&shared.topic));
        let what = format!("go back to offset {offset} of partition {partition}");
        let seek = move || membership.seek(&topic, partition, Offset::Offset(offset), SEEK_TIMEOUT);
        if shared.has_done(&what, seek).await {
            shared.state().intake.claims.sought(partition, offset);
        }
    }
}

impl Shared {
    /// Puts a message into the buffer; returns whether that takes no more.
    fn push(&self, fetched: Fetched) -> bool {
        let mut state = self.state();
        state.intake.push(fetched);
        state.intake.is_full()
    }

    /// Waits a moment until the buffer takes more, or something else is to be done before that.
    async fn has_room(&self) -> bool {
        until(&self.work, Instant::now() + ROOM_WAIT, || {
            let state = self.state();
            !state.intake.is_full() || !state.intake.claims.seeks().is_empty()
        })
        .await
    }

    /// Has the client do what blocks; whether it did. A partition may not be assigned any more, or not be
    /// fetched yet: the next look decides.
    async fn has_done(
        &self,
        what: &str,
        call: impl FnOnce() -> KafkaResult<()> + Send + 'static,
    ) -> bool {
        match tokio::task::spawn_blocking(call).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot {what} yet");
                tokio::time::sleep(RETRY_WAIT).await;
                self.work.notify_one();
            }
            Err(_) => self.supervisor.fail(format!("the thread that was to {what} ended early")),
        }
        false
    }

    /// Says that nothing was polled for too long, and so the partitions go to others.
    fn breached(&self, error: KafkaError) {
        tracing::error!(
            %error,
            "nothing was polled for max.poll.interval.ms; the partitions go to others"
        );
        self.meters.poll_breaches.increment(1);
        let mut state = self.state();
        if let Some(pulse) = &state.group.pulse {
            pulse.cut_off();
        }
        state.intake.unavailable = Some(error);
        drop(state);
        self.arrived.notify_waiters();
    }
}
