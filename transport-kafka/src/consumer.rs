//! The consumer's side: rebalances, and the task that polls.

use std::{sync::Arc, time::Duration};

use fmnist_core::Part;
use rdkafka::{
    ClientContext, Offset,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionList,
};
use tokio::time::Instant;

use crate::{
    log,
    membership::Membership,
    shared::{REPORT_INTERVAL, Shared},
    wire::Fetched,
};

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
                if let Err(error) = consumer.resume(partitions) {
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
                fmnist_core::fail_point!(InRevoke);
                state.member = None;
                for element in partitions.elements() {
                    state.lanes.revoke(element.partition());
                    state.marks.revoke(element.partition());
                    state.discard(element.partition());
                }
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
        fmnist_core::fail_point!(AfterCommit);
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; messages may be answered twice");
        }
    }
}

/// Polls for ever: librdkafka serves rebalances and counts the poll interval only while polled.
pub(crate) async fn poll(membership: Arc<Membership>, shared: Arc<Shared>, _part: Part) {
    let consumer = &**membership;
    let mut paused = false;
    let mut reported: Option<Instant> = None;
    loop {
        go_back(&membership, &shared).await;
        if paused && !shared.state().is_above(2) {
            paused = consumer.assignment().and_then(|all| consumer.resume(&all)).is_err();
        }
        tokio::select! {
            // Polling first: a seek that fails until a rebalance is served must not prevent that.
            biased;
            message = consumer.recv() => match message {
                Ok(message) => {
                    let full = shared.push(Fetched::from(&message));
                    if full && !shared.has_room().await {
                        paused = consumer.assignment().and_then(|all| consumer.pause(&all)).is_ok();
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

/// Goes back to where messages were handed back.
async fn go_back(membership: &Arc<Membership>, shared: &Arc<Shared>) {
    let seeks = shared.state().lanes.seeks();
    for (partition, offset) in seeks {
        shared.state().discard(partition);
        let (membership, topic) = (Arc::clone(membership), Arc::clone(&shared.topic));
        let sought = tokio::task::spawn_blocking(move || {
            membership.seek(&topic, partition, Offset::Offset(offset), SEEK_TIMEOUT)
        });
        match sought.await {
            Ok(Ok(())) => shared.state().lanes.sought(partition, offset),
            // Not assigned any more, or not yet fetching: the next look decides.
            Ok(Err(error)) => {
                tracing::debug!(%error, partition, offset, "cannot go back yet");
                tokio::time::sleep(Duration::from_millis(20)).await;
                shared.work.notify_one();
            }
            Err(_) => shared.supervisor.fail("the thread that went back to an offset ended early"),
        }
    }
}
