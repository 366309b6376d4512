//! Brokers inside the demo's process.

use std::sync::Arc;

use anyhow::Context;
use fmnist_core::{Supervisor, message::ResultRecord, transport::Transport};
use frontend_actix::Config;
use pubsub_fake::FakePubSub;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use service::{Broker, Producer, stderr};
use tokio::sync::broadcast;
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaTransport};
use transport_pubsub::{Emulator, PubSubConfig};

use crate::backlog::{Backlog, Bounded};

const PARTITIONS: i32 = 4;
/// The mock drops the oldest messages of a partition above 5 MB.
const LIMIT_BYTES: usize = 4_000_000;

/// The brokers that the configuration leaves to the demo. They run as long as this.
pub struct Toys {
    kafka: Option<MockCluster<'static, DefaultProducerContext>>,
    pubsub: Option<FakePubSub>,
}

impl Toys {
    /// Starts both, but none of what `config` and `has_kafka` say that there is.
    ///
    /// # Errors
    /// When one does not start, or the real Kafka can't be given its topics.
    pub async fn start(config: &mut Config, has_kafka: bool) -> anyhow::Result<Self> {
        let pubsub = &mut config.pubsub;
        let toy_pubsub = if has_kafka || pubsub.is_configured() {
            None
        } else {
            Some(start_pubsub(pubsub).await?)
        };
        if pubsub.is_configured() && pubsub.project_id.is_empty() {
            pubsub.project_id = "demo".to_owned();
        }
        Ok(Self { kafka: start_kafka(&mut config.kafka, has_kafka).await?, pubsub: toy_pubsub })
    }

    /// Whether there is one, which numbers its messages from 0 again.
    pub const fn is_any(&self) -> bool {
        self.kafka.is_some() || self.pubsub.is_some()
    }

    /// Kafka's producer; the toy's says 503 before the toy would lose messages.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub async fn producer(
        &self,
        config: &KafkaConfig,
        mut results: broadcast::Receiver<Arc<ResultRecord>>,
        parts: &Supervisor,
    ) -> anyhow::Result<Producer> {
        if self.kafka.is_none() {
            return config.producer().await;
        }
        let backlog = Backlog::new(LIMIT_BYTES);
        let publisher = Bounded::new(KafkaPublisher::connect(config).await?, Arc::clone(&backlog));
        let part = parts.part("task that counts the toy's backlog");
        tokio::spawn(async move {
            let _part = part;
            use broadcast::error::RecvError;
            loop {
                match results.recv().await {
                    Ok(result) => backlog.settle(&result),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Ok(Producer::new(KafkaTransport::NAME, publisher))
    }
}

/// Starts the toy, or finds the real cluster and creates the topics it lacks.
async fn start_kafka(
    config: &mut KafkaConfig,
    is_real: bool,
) -> anyhow::Result<Option<MockCluster<'static, DefaultProducerContext>>> {
    if is_real {
        transport_kafka::create_missing(config, PARTITIONS).await?;
        return Ok(None);
    }
    let toy = MockCluster::new(1).context("the in-process Kafka does not start")?;
    for topic in config.topics() {
        toy.create_topic(topic, PARTITIONS, 1)?;
    }
    config.bootstrap_servers = toy.bootstrap_servers();
    stderr().line(format_args!(
        "Kafka is a toy inside this process (librdkafka's mock at {}): it keeps 5 MB a partition, \
         in memory, and is gone with the demo. --kafka HOST:PORT takes a real one.",
        config.bootstrap_servers
    ));
    Ok(Some(toy))
}

async fn start_pubsub(config: &mut PubSubConfig) -> anyhow::Result<FakePubSub> {
    let toy = FakePubSub::start().await.context("the in-process Pub/Sub does not start")?;
    let emulator = Emulator::from(toy.address());
    stderr().line(format_args!(
        "Pub/Sub is a toy inside this process, at {}: it keeps 64 MB, in memory, and is gone with the \
         demo. PUBSUB_EMULATOR_HOST takes an emulator.",
        emulator.endpoint()
    ));
    config.emulator = Some(emulator);
    Ok(toy)
}
