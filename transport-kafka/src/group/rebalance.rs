//! What librdkafka calls while it is polled: partitions come and go, and outcomes of the messages of those
//! that went are stale from then on.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance},
    error::KafkaResult,
    topic_partition_list::TopicPartitionList,
};

use crate::{
    connect::log::logged,
    place::list,
    shared::{Shared, State},
};

/// How long a revocation waits for the open transaction. Far below the session's timeout.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
/// And for the marks of its partitions. Without them the next consumer is careful for nothing.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// Forgets revoked partitions, so that outcomes of their messages are stale.
pub(crate) struct Context(pub(crate) Arc<Shared>);

logged!(Context);

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Runs within a poll; nobody polls, or waits for librdkafka's threads, under the lock.
        match rebalance {
            Rebalance::Revoke(partitions) => {
                // A partition that comes back would come back paused, and stay so.
                let revoked = partitions.elements();
                let revoked: Vec<i32> = revoked.iter().map(|place| place.partition()).collect();
                let is_paused = |partition: &&i32| self.0.state().intake.paused.contains(partition);
                let paused = revoked.iter().filter(is_paused).copied();
                if let Err(error) = consumer.resume(&list(&self.0.topic, paused)) {
                    tracing::debug!(%error, "revoked partitions not resumed");
                }
                // What is lost has another owner already.
                let wait = if consumer.assignment_lost() {
                    self.0.meters.lost.increment(1);
                    Duration::ZERO
                } else {
                    self.0.meters.revoked.increment(1);
                    self.0.farewell(&revoked, FAREWELL_WAIT);
                    REVOKE_WAIT
                };
                let mut state = self.0.after_transaction(wait);
                stream_inference::fail_point!(InRevoke);
                state.group.member = None;
                revoked.into_iter().for_each(|partition| state.intake.revoke(partition));
                drop(state);
                // What was discarded may have been all that stood between full and empty.
                self.0.handed_back();
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

impl Shared {
    /// Takes note of whom transactions commit offsets for.
    fn joined(&self, member: Option<ConsumerGroupMetadata>) {
        let mut state = self.state();
        state.group.member = member.map(Arc::new);
        if let Some(pulse) = &state.group.pulse {
            pulse.connected();
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Leaves marks on partitions as the next consumer is to find them, within `timeout`.
    fn farewell(&self, partitions: &[i32], timeout: Duration) {
        let mut state = self.state();
        state.intake.rest();
        partitions.iter().for_each(|partition| state.intake.marks.farewell(*partition));
        self.marked.notify_all();
        let waits =
            |state: &mut State| !partitions.iter().all(|of| state.intake.marks.is_kept(*of));
        drop(self.marked.wait_timeout_while(state, timeout, waits));
    }

    /// Blocks until the transaction that is open now has ended, for at most `timeout`.
    ///
    /// That saves an abort and no more: offsets are committed for the member that this consumer was
    /// before the revocation, which the broker refuses once the partitions have another owner.
    fn after_transaction(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let state = self.state();
        let open = state.group.transaction;
        let waits =
            |state: &mut State| state.group.in_transaction && state.group.transaction == open;
        let waited = self.moved.wait_timeout_while(state, timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Blocks until this consumer is a member of its group with an assignment, for at most
    /// `timeout`, and marks a transaction as open under the same lock.
    pub(crate) fn begin(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.group.member.is_none() && !state.group.is_closing;
        let waited = self.moved.wait_timeout_while(self.state(), timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.group.transaction += 1;
        state.group.in_transaction = true;
        state
    }

    /// Marks the open transaction as committed or aborted.
    pub(crate) fn end(&self) {
        self.state().group.in_transaction = false;
        self.moved.notify_all();
    }
}
