use std::{
    env, process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context;
use fmnist_core::transport::Outbound;
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use transport_kafka::{KafkaConfig, KafkaGuarantee, KafkaTransport, create_missing};

const PARTITIONS: i32 = 4;
/// The first is for these benchmarks, the second is what `scripts/kafka.sh` sets.
const ADDRESSES: [&str; 2] = ["FMNIST_BENCH_KAFKA", "FMNIST_TEST_KAFKA"];

fn address() -> Option<String> {
    ADDRESSES.into_iter().find_map(|name| env::var(name).ok())
}

/// Fresh topics on a cluster of rdkafka's mock, or on the cluster that the variable
/// `FMNIST_BENCH_KAFKA` or `FMNIST_TEST_KAFKA` names; there they remain afterwards.
///
/// The mock keeps 5 MB a partition and drops the oldest, so fill it with less.
pub struct Kafka {
    config: KafkaConfig,
    partitions: i32,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Kafka {
    /// The name in tables.
    pub fn name() -> &'static str {
        if Self::is_real() { "Kafka" } else { "mock Kafka" }
    }

    /// Whether a variable names a real cluster.
    pub fn is_real() -> bool {
        address().is_some()
    }

    /// The same topics, consumed with this guarantee.
    #[must_use]
    pub fn with_guarantee(mut self, guarantee: KafkaGuarantee) -> Self {
        self.config.guarantee = guarantee;
        self
    }

    /// What a consumer of these topics connects with.
    pub const fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Bootstrap servers, input topic and results topic.
    pub fn names(&self) -> (&str, &str, &str) {
        let KafkaConfig { bootstrap_servers, topic, .. } = &self.config;
        (bootstrap_servers, topic, self.config.results_topic().unwrap_or_default())
    }

    /// Creates the topics, of four partitions each.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn fresh() -> anyhow::Result<Self> {
        Self::with_partitions(PARTITIONS).await
    }

    /// Creates the topics, of so many partitions each.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn with_partitions(partitions: i32) -> anyhow::Result<Self> {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench-{}-{}", process::id(), RUN.fetch_add(1, Ordering::Relaxed));
        let mut config = KafkaConfig {
            group_id: name.clone(),
            topic: format!("{name}-requests"),
            results_topic: Some(format!("{name}-results")),
            dead_letter_topic: format!("{name}-dead-letters"),
            ..KafkaConfig::default()
        };
        if let Some(address) = address() {
            config.bootstrap_servers = address;
            create_missing(&config, partitions).await?;
            return Ok(Self { config, partitions, _mock: None });
        }
        let mock = MockCluster::new(1)?;
        let topics = [&config.topic, &config.dead_letter_topic];
        for topic in topics.into_iter().chain(&config.results_topic) {
            mock.create_topic(topic, partitions, 1)?;
        }
        config.bootstrap_servers = mock.bootstrap_servers();
        Ok(Self { config, partitions, _mock: Some(mock) })
    }

    /// Publishes the same message many times, evenly over the partitions, and waits until the
    /// broker has them all.
    ///
    /// # Errors
    /// If it does not take them within a minute.
    pub fn fill(&self, message: &Outbound, messages: usize) -> anyhow::Result<()> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.config.bootstrap_servers)
            .set("queue.buffering.max.messages", messages.to_string())
            .create()?;
        for partition in (0..self.partitions).cycle().take(messages) {
            let record = BaseRecord::<(), [u8]>::to(&self.config.topic)
                .partition(partition)
                .payload(&message.payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(60)).context("the messages to consume")
    }

    /// A consumer in a group of its own.
    ///
    /// # Errors
    /// If the cluster is away.
    pub async fn consumer(&self) -> anyhow::Result<KafkaTransport> {
        Ok(KafkaTransport::connect(&self.config).await?)
    }
}
