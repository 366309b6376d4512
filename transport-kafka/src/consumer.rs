//! The consumer's side: a task that polls, and what it shares with the transport.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fmnist_core::{
    pipeline::Pulse,
    transport::{Settlement, TransportError},
};
use rdkafka::{
    ClientContext, Offset,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionList,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    lanes::{Claim, Lanes},
    log,
    membership::Membership,
    meters::Meters,
    outbox::Reply,
    wire::Fetched,
};

/// Intake pauses above these and resumes below half of them.
const BUFFERED_MESSAGES: usize = 10_000;
const BUFFERED_BYTES: usize = 8 << 20;
/// How long room in the buffer is waited for, without polling, before partitions are paused: pausing
/// throws away what the client has fetched ahead.
const ROOM_WAIT: Duration = Duration::from_millis(500);
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a revocation waits for the open transaction. Far below the session's timeout.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What the polling task, the transport and its tokens share.
pub(crate) struct Shared {
    pub(crate) topic: Arc<str>,
    pub(crate) meters: Meters,
    /// The first offset of each partition that is not received, where there is an end.
    ends: Option<HashMap<i32, i64>>,
    state: Mutex<State>,
    /// A message was buffered, or the client failed for good.
    pub(crate) arrived: Notify,
    /// The polling task has something to do: room, or a place to go back to.
    work: Notify,
    /// A settlement was confirmed.
    confirmed: Notify,
    /// A transaction ended, the group was joined, or the transport closes.
    moved: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) lanes: Lanes,
    pub(crate) buffer: VecDeque<Fetched>,
    pub(crate) buffered_bytes: usize,
    settlements: usize,
    /// Whom transactions commit offsets for, as of the last assignment; none between a revocation
    /// and the next assignment.
    pub(crate) member: Option<Arc<ConsumerGroupMetadata>>,
    /// The open transaction's number.
    transaction: Option<u64>,
    transactions: u64,
    /// Transactions that are to be aborted instead of committed.
    aborts: usize,
    closing: bool,
    /// Whom to tell of the place in the group.
    pulse: Option<Pulse>,
    /// When a full producer queue was last said.
    full: Option<Instant>,
    /// Why nothing comes for now, until it was told.
    pub(crate) unavailable: Option<KafkaError>,
    pub(crate) fatal: Option<String>,
}

impl State {
    /// Takes the next message that is not about to be fetched again.
    pub(crate) fn pop(&mut self, accepts: impl Fn(&Fetched) -> bool) -> Option<Fetched> {
        self.drop_superseded();
        if !accepts(self.buffer.front()?) {
            return None;
        }
        let fetched = self.buffer.pop_front()?;
        self.buffered_bytes -= fetched.payload.len();
        Some(fetched)
    }

    /// Drops messages at the front whose partition waits for the consumer to go back.
    pub(crate) fn drop_superseded(&mut self) {
        while let Some(first) = self.buffer.front() {
            if !self.lanes.is_seeking(first.partition) {
                return;
            }
            self.buffered_bytes -= first.payload.len();
            self.buffer.pop_front();
        }
    }

    /// The first message of each partition that was fetched and is not acknowledged.
    pub(crate) fn unacknowledged(&self) -> HashMap<i32, i64> {
        let mut first = self.lanes.unacknowledged();
        for fetched in &self.buffer {
            first.entry(fetched.partition).or_insert(fetched.offset);
        }
        first
    }

    fn discard(&mut self, partition: i32) {
        self.buffer.retain(|fetched| fetched.partition != partition);
        self.buffered_bytes = self.buffer.iter().map(|fetched| fetched.payload.len()).sum();
    }

    /// Whether intake is to pause.
    pub(crate) fn is_full(&self) -> bool {
        self.is_above(1)
    }

    fn is_above(&self, share: usize) -> bool {
        self.buffer.len() > BUFFERED_MESSAGES / share
            || self.buffered_bytes > BUFFERED_BYTES / share
    }
}

impl Shared {
    pub(crate) fn new(topic: &str, ends: Option<HashMap<i32, i64>>) -> Self {
        let topic = topic.into();
        Self {
            meters: Meters::new(&topic),
            topic,
            ends,
            state: Mutex::default(),
            arrived: Notify::new(),
            work: Notify::new(),
            confirmed: Notify::new(),
            moved: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `pulse` whether this consumer has a place in its group.
    pub(crate) fn attach(&self, pulse: Pulse) {
        self.state().pulse = Some(pulse);
    }

    /// Says that nothing was polled for too long, and so the partitions go to others.
    fn breached(&self, error: KafkaError) {
        tracing::error!(
            %error,
            "nothing was polled for max.poll.interval.ms; the partitions go to others"
        );
        self.meters.poll_breaches.increment(1);
        let mut state = self.state();
        if let Some(pulse) = &state.pulse {
            pulse.cut_off();
        }
        state.unavailable = Some(error);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Says that a result waits for room in the producer's queue.
    pub(crate) fn queue_full(&self) {
        self.meters.queue_full.increment(1);
        let mut state = self.state();
        if state.full.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            state.full = Some(Instant::now());
            tracing::warn!(
                topic = &*self.topic,
                "the producer's queue is full: results wait until Kafka confirms earlier ones"
            );
        }
    }

    /// Hands a message back; answers whether the claim still counted.
    pub(crate) fn pull_back(&self, claim: Claim) -> bool {
        let counted = self.state().lanes.pull_back(claim);
        self.work.notify_one();
        counted
    }

    /// Tells the polling task that messages were taken from the buffer.
    pub(crate) fn taken(&self) {
        self.work.notify_one();
    }

    /// Counts a settlement as pending until [`Shared::settled`].
    pub(crate) fn settling(&self) {
        self.state().settlements += 1;
    }

    /// Answers a settlement.
    pub(crate) fn settled(&self, reply: Reply, result: Result<Settlement, TransportError>) {
        self.state().settlements -= 1;
        self.confirmed.notify_waiters();
        // Nobody waits for a settlement whose future was dropped.
        let _ = reply.send(result);
    }

    /// Waits until no settlement is pending; false if `deadline` comes first.
    pub(crate) async fn all_settled(&self, deadline: Instant) -> bool {
        loop {
            let mut confirmed = std::pin::pin!(self.confirmed.notified());
            confirmed.as_mut().enable();
            if self.state().settlements == 0 {
                return true;
            }
            if timeout_at(deadline, confirmed).await.is_err() {
                return false;
            }
        }
    }

    /// Blocks until this consumer is a member of its group with an assignment, for at most
    /// `timeout`, and marks a transaction as open under the same lock.
    pub(crate) fn begin(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.member.is_none() && !state.closing;
        let waited = self.moved.wait_timeout_while(self.state(), timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.transactions += 1;
        state.transaction = Some(state.transactions);
        state
    }

    /// Tells the polling task that messages may have been handed back.
    pub(crate) fn handed_back(&self) {
        self.work.notify_one();
    }

    /// Marks the open transaction as committed or aborted.
    pub(crate) fn end(&self) {
        self.state().transaction = None;
        self.moved.notify_all();
    }

    /// Whether a fault was injected for the transaction that would commit now.
    pub(crate) fn take_abort(&self) -> bool {
        let mut state = self.state();
        let asked = state.aborts > 0;
        state.aborts = state.aborts.saturating_sub(1);
        asked
    }

    /// See [`crate::KafkaTransport::abort_transactions`].
    #[cfg(feature = "faults")]
    pub(crate) fn abort_transactions(&self, count: usize) {
        self.state().aborts = count;
    }

    /// Makes a transaction that waits for the group give up.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.moved.notify_all();
    }

    /// Blocks until the transaction that is open now has ended, for at most `timeout`.
    ///
    /// That saves an abort and no more: offsets are committed for the member that this consumer was
    /// before the revocation, which the broker refuses once the partitions have another owner.
    fn after_transaction(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let state = self.state();
        let open = state.transaction;
        let waits = |state: &mut State| open.is_some() && state.transaction == open;
        let waited = self.moved.wait_timeout_while(state, timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Records why the consumer can't go on.
    pub(crate) fn fail(&self, reason: String) {
        self.state().fatal.get_or_insert(reason);
        self.arrived.notify_waiters();
    }

    /// Waits a moment until the buffer takes more, or something else is to be done before that.
    async fn has_room(&self) -> bool {
        let deadline = Instant::now() + ROOM_WAIT;
        loop {
            if self.is_ready() {
                return true;
            }
            if timeout_at(deadline, self.work.notified()).await.is_err() {
                return false;
            }
        }
    }

    fn is_ready(&self) -> bool {
        let state = self.state();
        !state.is_full() || !state.lanes.seeks().is_empty()
    }

    fn is_behind_the_end(&self, fetched: &Fetched) -> bool {
        let end = |ends: &HashMap<i32, i64>| ends.get(&fetched.partition).copied().unwrap_or(0);
        self.ends.as_ref().is_some_and(|ends| fetched.offset >= end(ends))
    }

    fn push(&self, fetched: Fetched) -> bool {
        let mut state = self.state();
        if !state.lanes.is_seeking(fetched.partition) && !self.is_behind_the_end(&fetched) {
            state.buffered_bytes += fetched.payload.len();
            state.buffer.push_back(fetched);
        }
        let full = state.is_full();
        drop(state);
        self.arrived.notify_waiters();
        full
    }
}

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
                let mut state = self.0.after_transaction(wait);
                fmnist_core::fail_point!(InRevoke);
                state.member = None;
                for element in partitions.elements() {
                    state.lanes.revoke(element.partition());
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
                let mut state = self.0.state();
                state.member = member.map(Arc::new);
                if let Some(pulse) = &state.pulse {
                    pulse.connected();
                }
                drop(state);
                self.0.moved.notify_all();
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
pub(crate) async fn poll(membership: Arc<Membership>, shared: Arc<Shared>) {
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
                    shared.fail(format!("the consumer of {} failed: {error}", shared.topic));
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
            Err(_) => shared.fail("the thread that went back to an offset ended early".to_owned()),
        }
    }
}
