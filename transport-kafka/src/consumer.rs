//! The consumer's side: a task that polls, and what it shares with the transport.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
    topic_partition_list::TopicPartitionList,
};
use tokio::sync::Notify;

use crate::{
    clients::Clients,
    lanes::{Claim, Lanes},
    log,
    wire::Fetched,
};

/// Intake pauses above these and resumes below half of them.
const BUFFERED_MESSAGES: usize = 10_000;
const BUFFERED_BYTES: usize = 8 << 20;
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What the polling task, the transport and its tokens share.
pub(crate) struct Shared {
    pub(crate) topic: Arc<str>,
    state: Mutex<State>,
    /// A message was buffered, or the client failed for good.
    pub(crate) arrived: Notify,
    /// The polling task has something to do: room, or a place to go back to.
    work: Notify,
    /// A settlement was confirmed.
    pub(crate) confirmed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) lanes: Lanes,
    pub(crate) buffer: VecDeque<Fetched>,
    pub(crate) buffered_bytes: usize,
    pub(crate) settlements: usize,
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
    pub(crate) fn new(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            state: Mutex::default(),
            arrived: Notify::new(),
            work: Notify::new(),
            confirmed: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Records why the consumer can't go on.
    pub(crate) fn fail(&self, reason: String) {
        self.state().fatal.get_or_insert(reason);
        self.arrived.notify_waiters();
    }

    fn push(&self, fetched: Fetched) -> bool {
        let mut state = self.state();
        if !state.lanes.is_seeking(fetched.partition) {
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
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Runs within a poll; nobody polls, or waits for librdkafka's threads, under the lock.
        match rebalance {
            Rebalance::Revoke(partitions) => {
                let mut state = self.0.state();
                for element in partitions.elements() {
                    state.lanes.revoke(element.partition());
                    state.discard(element.partition());
                }
            }
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; messages may be answered twice");
        }
    }
}

/// Polls for ever: librdkafka serves rebalances and counts the poll interval only while polled.
pub(crate) async fn poll(clients: Arc<Clients>, shared: Arc<Shared>) {
    let consumer = &clients.consumer;
    let mut paused = false;
    let mut reported: Option<Instant> = None;
    loop {
        go_back(&clients, &shared).await;
        if paused && !shared.state().is_above(2) {
            paused = consumer.assignment().and_then(|all| consumer.resume(&all)).is_err();
        }
        tokio::select! {
            // Polling first: a seek that fails until a rebalance is served must not prevent that.
            biased;
            message = consumer.recv() => match message {
                Ok(message) => {
                    let full = shared.push(Fetched::from(&message));
                    if full && consumer.assignment().and_then(|all| consumer.pause(&all)).is_ok() {
                        paused = true;
                    }
                }
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    shared.fail(format!("the consumer of {} failed: {error}", shared.topic));
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

/// Goes back to where messages were handed back.
async fn go_back(clients: &Arc<Clients>, shared: &Arc<Shared>) {
    let seeks = shared.state().lanes.seeks();
    for (partition, offset) in seeks {
        shared.state().discard(partition);
        let (clients, topic) = (Arc::clone(clients), Arc::clone(&shared.topic));
        let sought = tokio::task::spawn_blocking(move || {
            clients.consumer.seek(&topic, partition, Offset::Offset(offset), SEEK_TIMEOUT)
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
