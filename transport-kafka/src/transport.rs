//! A member of a consumer group: what it connects, and how it receives, settles and drains.

use std::{sync::Arc, thread, time::Duration};

use rdkafka::error::KafkaResult;
use stream_inference::{
    pipeline::Pulse,
    transport::{
        Capabilities, Crashes, Delivery, Guarantee, Lane, Limits, Outcome, Settlement, Source,
        Stage, Transport, TransportError,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    KafkaConfig, KafkaGuarantee, KafkaPlace, KafkaSetupError, KafkaSpan,
    connect::blocking,
    group::{membership, rebalance::Context, start},
    intake::{Taken, Waiting, ends::Ends, poll::poll},
    marks::keeper::Keeper,
    meters::{NAME, lag},
    provision,
    settle::{
        at_least_once, exactly_once,
        outbox::{BATCHES, Batch, Reply},
        outputs::Outputs,
    },
    shared::Shared,
    token::KafkaToken,
    wire::Fetched,
};

/// How long the last marks are waited for.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);
/// How long a stage waits to be marked.
const MARK_WAIT: Duration = Duration::from_secs(5);

/// A member of a consumer group, with the producer of its results.
pub struct KafkaTransport {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Batch>,
    outputs: Arc<Outputs>,
    guarantee: Guarantee,
    tasks: Vec<JoinHandle<()>>,
    /// Resolves once the last of the tasks has let go of the consumer and it is closed.
    closed: Option<oneshot::Receiver<KafkaResult<()>>>,
    /// Resolves once the keeper of the marks has ended.
    kept: Option<oneshot::Receiver<()>>,
}

impl KafkaTransport {
    /// Checks that the topics exist, joins the group and begins to fetch.
    ///
    /// # Errors
    /// If the broker is away, a topic is missing or librdkafka refuses the configuration.
    pub async fn connect(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        Self::connect_until(config, None).await
    }

    /// As [`KafkaTransport::connect`], and receives nothing from the end of each of `spans` on,
    /// where there are any. The group's place comes to those ends once everything before them is
    /// done, also where no message stands there any more.
    ///
    /// # Errors
    /// As [`KafkaTransport::connect`].
    pub async fn connect_until(
        config: &KafkaConfig,
        spans: Option<&[KafkaSpan]>,
    ) -> Result<Self, KafkaSetupError> {
        config.check_source()?;
        blocking(config, |config| provision::partitions(config, config.topics())).await?;
        let ends =
            spans.map(|spans| Ends::new(spans.iter().map(|span| (span.partition, span.end))));
        let shared = Arc::new(Shared::new(&config.topic, ends));
        let (outbox, accepted) = mpsc::channel(BATCHES);
        let outputs = Arc::new(Outputs::new(config));
        // Before the group is joined: what a killed process left open holds back its offsets.
        let (guarantee, transactional) = match config.guarantee {
            KafkaGuarantee::AtLeastOnce => (Guarantee::AtLeastOnce, None),
            KafkaGuarantee::ExactlyOnce => {
                let producer = blocking(config, exactly_once::Producer::connect).await?;
                (Guarantee::ExactlyOnce, Some(producer))
            }
        };
        if config.begins_at_the_end() {
            blocking(config, start::begin_at_the_end).await?;
        }
        let keeper = Keeper::new(config, Arc::clone(&shared))?;
        let (part, (ended, kept)) = (shared.supervisor.part("thread of marks"), oneshot::channel());
        thread::spawn(move || {
            let _ended = ended;
            keeper.run(part);
        });
        let (membership, closed) = membership::join(config, Context(Arc::clone(&shared)))?;
        let membership = Arc::new(membership);
        let mut tasks = Vec::with_capacity(3);
        match transactional {
            None => {
                let settler = at_least_once::Settler::connect(
                    config,
                    Arc::clone(&shared),
                    Arc::clone(&membership),
                    Arc::clone(&outputs),
                )?;
                let part = shared.supervisor.part("task that publishes results");
                tasks.push(tokio::spawn(settler.run(accepted, part)));
            }
            Some(producer) => {
                let (shared, outputs) = (Arc::clone(&shared), Arc::clone(&outputs));
                let part = shared.supervisor.part("thread of transactions");
                let settler = exactly_once::Settler::new(producer, shared, outputs);
                thread::spawn(move || settler.run(accepted, part));
            }
        }
        let part = shared.supervisor.part("task that measures the lag");
        let watch = lag::watch(Arc::downgrade(&membership), Arc::clone(&shared), part);
        tasks.push(tokio::spawn(watch));
        let part = shared.supervisor.part("task that polls Kafka");
        tasks.push(tokio::spawn(poll(membership, Arc::clone(&shared), part)));
        let (closed, kept) = (Some(closed), Some(kept));
        Ok(Self { shared, outbox, outputs, guarantee, tasks, closed, kept })
    }

    /// Tells `pulse` when Kafka has given this consumer's partitions to others because nothing was
    /// polled for `max.poll.interval.ms`, and when it has its place in the group again.
    #[must_use]
    pub fn with_pulse(self, pulse: &Pulse) -> Self {
        self.shared.state().group.pulse = Some(pulse.clone());
        self
    }

    /// Makes the next `count` transactions abort where they would commit: a fault for tests. What
    /// they sent was confirmed by the broker, and its messages are delivered again.
    #[cfg(feature = "faults")]
    pub fn abort_transactions(&self, count: usize) {
        self.shared.state().group.aborts = count;
    }

    fn deliver(&self, taken: Taken) -> Delivery<KafkaToken> {
        let Taken { fetched, claim, attempt, crashes } = taken;
        let Fetched { partition, offset, key, attributes, payload } = fetched;
        let topic = &self.shared.topic;
        Delivery {
            id: KafkaPlace { topic, partition, offset }.to_string(),
            source: Source {
                transport: NAME.into(),
                topic: Arc::clone(topic),
                partition: Some(partition),
                offset: Some(offset),
                message_id: None,
            },
            lane: Some(Lane::Partition { topic: Arc::clone(topic), partition }),
            attempt: Some(attempt),
            key,
            attributes,
            payload,
            token: KafkaToken::new(Arc::clone(&self.shared), claim, crashes),
        }
    }

    fn take(&self, limits: Limits) -> Vec<Delivery<KafkaToken>> {
        let taken = self.shared.state().intake.take(limits);
        self.shared.marked.notify_all();
        // There is room in the buffer.
        self.shared.work.notify_one();
        taken.into_iter().map(|taken| self.deliver(taken)).collect()
    }

    /// What `recv` has to know of the buffer.
    fn waiting(&self, limits: Limits) -> Result<Waiting, TransportError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let mut state = self.shared.state();
        let waiting = state.intake.waiting(limits);
        if let Waiting::Nothing = waiting {
            self.shared.marked.notify_all();
            if let Some(error) = state.intake.unavailable.take() {
                return Err(TransportError::Unavailable {
                    context: format!("Kafka does not deliver {}", self.shared.topic),
                    source: Some(error.into()),
                });
            }
        }
        Ok(waiting)
    }
}

impl Transport for KafkaTransport {
    type Token = KafkaToken;

    const NAME: &'static str = NAME;

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.guarantee).with_lanes(true).with_attempts(true)
    }

    fn has_route(&self, topic: &str) -> bool {
        self.outputs.has_route(topic)
    }

    fn crashes(&self, delivery: &Delivery<KafkaToken>) -> Option<Crashes> {
        delivery.token.crashes()
    }

    fn forget_crashes(&mut self) {
        self.shared.state().intake.marks.disable();
    }

    async fn enter(&mut self, stage: Stage) {
        self.shared.state().intake.marks.enter(stage);
        self.shared.marks_kept(Instant::now() + MARK_WAIT).await;
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<KafkaToken>>, TransportError> {
        // Nothing is claimed before it is returned, so a dropped future loses nothing.
        let mut deadline = None;
        loop {
            let mut arrived = std::pin::pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            let due = match (self.waiting(limits)?, deadline) {
                (Waiting::Enough, _) => true,
                (Waiting::Nothing, _) => tokio::select! {
                    () = arrived => false,
                    failure = self.shared.failed() => return Err(failure),
                },
                (Waiting::Some, None) => {
                    deadline = Some(Instant::now() + limits.max_wait);
                    limits.max_wait.is_zero()
                }
                (Waiting::Some, Some(deadline)) => timeout_at(deadline, arrived).await.is_err(),
            };
            let deliveries = if due { self.take(limits) } else { Vec::new() };
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<KafkaToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let (reply, settlement) = Reply::new(Arc::clone(&shared));
        // Where nobody takes it any more, it is dropped.
        let _ = self.outbox.try_send((batch, reply));
        async move {
            match settlement.await {
                Ok(answer) => answer,
                // Who was to answer has ended, or the transport was dropped.
                Err(_) => Err(shared.failed().await),
            }
        }
    }

    async fn drain(mut self, grace: Duration) -> Result<(), TransportError> {
        let deadline = Instant::now() + grace;
        let late = |what: &str| {
            TransportError::fatal(format!("draining took longer than {grace:?}: {what}"), None)
        };
        if !self.shared.all_settled(deadline).await {
            return Err(late("results were not confirmed"));
        }
        self.stop();
        let (Some(closed), Some(kept)) = (self.closed.take(), self.kept.take()) else {
            return Ok(());
        };
        let closed = timeout_at(deadline, closed).await;
        // Without the last marks the next consumer is careful for nothing, which is no reason to wait.
        let _ = timeout_at(deadline.min(Instant::now() + FAREWELL_WAIT), kept).await;
        match closed {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(TransportError::fatal(
                "the last offsets were not committed",
                Some(error.into()),
            )),
            Ok(Err(_)) | Err(_) => Err(late("the consumer did not close")),
        }
    }
}

impl KafkaTransport {
    fn stop(&self) {
        self.shared.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for KafkaTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_part_that_ends_early_ends_its_transport_and_is_named() {
        let parts = ["publishes results", "measures the lag", "polls Kafka"];
        for (index, part) in parts.into_iter().enumerate() {
            let cluster = MockCluster::new(1).expect("a mock cluster");
            let bootstrap_servers = cluster.bootstrap_servers();
            let config = KafkaConfig { bootstrap_servers, ..KafkaConfig::default() };
            for topic in config.topics() {
                cluster.create_topic(topic, 1, 1).expect("a topic");
            }
            let mut transport = KafkaTransport::connect(&config).await.expect("connected");
            transport.tasks[index].abort();
            let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
            let error = transport.recv(limits).await.expect_err("a part ended");
            let expected = format!("the task that {part} ended early");
            assert!(error.to_string().starts_with(&expected), "{error}");
            if part == "publishes results" {
                let error = transport.settle(Vec::new()).await.expect_err("nobody settles");
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
    }
}
