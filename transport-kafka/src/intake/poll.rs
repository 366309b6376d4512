//! The consumer's side: rebalances, and the task that polls.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientContext, Offset,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionList,
};
use stream_inference::Part;
use tokio::time::Instant;

use crate::{
    connect::log,
    group::membership::Membership,
    intake::ends::Ends,
    shared::{REPORT_INTERVAL, Shared},
    wire::Fetched,
};

/// How soon what the client refused for now is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(20);
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a revocation waits for the open transaction. Far below the session's timeout.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
/// And for the marks of its partitions. Without them the next consumer is careful for nothing.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// Forgets revoked partitions, so that verdicts on their messages are stale.
pub(crate) struct Context(pub(crate) Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::failure(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Runs within a poll; nobody polls, or waits for librdkafka's threads, under the lock.
        match rebalance {
            Rebalance::Revoke(partitions) => {
                // A partition that comes back would come back paused, and stay so.
                let revoked = partitions.elements();
                let revoked = revoked.iter().map(|element| element.partition());
                let paused: Vec<i32> =
                    revoked.clone().filter(|p| self.0.state().paused.contains(p)).collect();
                if let Err(error) = consumer.resume(&list(&self.0.topic, paused)) {
                    tracing::debug!(%error, "revoked partitions not resumed");
                }
                // What is lost has another owner already.
                let wait = match consumer.assignment_lost() {
                    true => {
                        self.0.meters.lost.increment(1);
                        Duration::ZERO
                    }
                    false => {
                        self.0.meters.revoked.increment(1);
                        REVOKE_WAIT
                    }
                };
                if !wait.is_zero() {
                    let revoked = partitions.elements();
                    let revoked: Vec<i32> = revoked.iter().map(|place| place.partition()).collect();
                    self.0.farewell(&revoked, FAREWELL_WAIT);
                }
                let mut state = self.0.after_transaction(wait);
                stream_inference::fail_point!(InRevoke);
                state.member = None;
                revoked.for_each(|partition| state.revoke(partition));
                drop(state);
                self.0.revoked();
            }
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(_) = rebalance {
            self.0.meters.assigned.increment(1);
            let member = consumer.group_metadata();
            // Read in this order: a member that was expelled has no generation, and the broker
            // would take its offsets without a question.
            if !consumer.assignment_lost() {
                self.0.joined(member);
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        stream_inference::fail_point!(AfterCommit);
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; messages may be answered twice");
        }
    }
}

/// Polls for ever: librdkafka serves rebalances and counts the poll interval only while polled.
pub(crate) async fn poll(membership: Arc<Membership>, shared: Arc<Shared>, _part: Part) {
    let consumer = &**membership;
    let mut reported: Option<Instant> = None;
    loop {
        go_back(&membership, &shared).await;
        commit_ends(&membership, &shared).await;
        if !shared.state().is_above(2) {
            resume(consumer, &shared);
        }
        tokio::select! {
            // Polling first: a seek that fails until a rebalance is served must not prevent that.
            biased;
            message = consumer.recv() => match message {
                Ok(message) => {
                    let full = shared.push(Fetched::from(&message));
                    if full && !shared.has_room().await {
                        pause(consumer, &shared);
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    if let Some(ends) = &mut shared.state().ends {
                        ends.reached(partition);
                    }
                }
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    shared
                        .supervisor
                        .fail(format!("the consumer of {} failed: {error}", shared.topic));
                    return;
                }
                Err(error @ KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded)) => {
                    shared.breached(error);
                }
                #[cfg(not(feature = "zstd"))]
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented)) => {
                    shared.supervisor.fail(format!(
                        "topic {} has messages that are compressed with zstd, which stay there: build \
                         with the feature zstd of transport-kafka",
                        shared.topic
                    ));
                    return;
                }
                // The client recovers by itself and says so up to 20 times a second.
                Err(error) if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) => {
                    reported = Some(Instant::now());
                    shared.state().unavailable = Some(error);
                    shared.arrived.notify_waiters();
                }
                Err(_) => {}
            },
            () = shared.work.notified() => {}
        }
    }
}

fn list(topic: &str, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition);
    }
    list
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
        assigned.filter(|partition| !state.paused.contains(partition)).collect()
    };
    match consumer.pause(&list(&shared.topic, running.iter().copied())) {
        Ok(()) => shared.state().paused.extend(running),
        Err(error) => tracing::debug!(%error, "partitions not paused"),
    }
}

/// Resumes what is paused, and nothing else.
fn resume(consumer: &StreamConsumer<Context>, shared: &Shared) {
    let paused = std::mem::take(&mut shared.state().paused);
    if paused.is_empty() {
        return;
    }
    if let Err(error) = consumer.resume(&list(&shared.topic, paused.iter().copied())) {
        tracing::debug!(%error, "partitions not resumed");
        shared.state().paused.extend(paused);
    }
}

/// Commits the end of partitions of which everything before it is done: what lies between the last
/// message and the end has no message to commit it by.
async fn commit_ends(membership: &Arc<Membership>, shared: &Arc<Shared>) {
    let finished = shared.state().ends.as_ref().map(Ends::finished).unwrap_or_default();
    for (partition, end) in finished {
        let (membership, topic) = (Arc::clone(membership), Arc::clone(&shared.topic));
        let committed = tokio::task::spawn_blocking(move || {
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(&topic, partition, Offset::Offset(end))?;
            membership.commit(&place, CommitMode::Sync)
        });
        match committed.await {
            Ok(Ok(())) => {
                if let Some(ends) = &mut shared.state().ends {
                    ends.committed(partition);
                }
            }
            // Not assigned any more, or no coordinator: the next look decides.
            Ok(Err(error)) => {
                tracing::debug!(%error, partition, end, "the end is not committed yet");
                tokio::time::sleep(RETRY_WAIT).await;
                shared.work.notify_one();
            }
            Err(_) => shared.supervisor.fail("the thread that committed an end ended early"),
        }
    }
}

/// Goes back to where messages were handed back.
async fn go_back(membership: &Arc<Membership>, shared: &Arc<Shared>) {
    let seeks = shared.state().claims.seeks();
    for (partition, offset) in seeks {
        shared.state().discard(partition);
        let (membership, topic) = (Arc::clone(membership), Arc::clone(&shared.topic));
        let sought = tokio::task::spawn_blocking(move || {
            membership.seek(&topic, partition, Offset::Offset(offset), SEEK_TIMEOUT)
        });
        match sought.await {
            Ok(Ok(())) => shared.state().claims.sought(partition, offset),
            // Not assigned any more, or not yet fetching: the next look decides.
            Ok(Err(error)) => {
                tracing::debug!(%error, partition, offset, "cannot go back yet");
                tokio::time::sleep(RETRY_WAIT).await;
                shared.work.notify_one();
            }
            Err(_) => shared.supervisor.fail("the thread that went back to an offset ended early"),
        }
    }
}
