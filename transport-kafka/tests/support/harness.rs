use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};
use stream_inference::transport::{Attributes, Outbound, Publisher, conformance::Harness};
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaTransport};

pub(crate) const PARTITIONS: i32 = 4;
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A configuration whose topics and group nobody else uses.
pub(crate) fn config(servers: &str) -> KafkaConfig {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let name = format!("T{}-{count}", std::process::id());
    KafkaConfig {
        bootstrap_servers: servers.to_owned(),
        group_id: format!("group-{name}"),
        topic: format!("{name}-IN"),
        results_topic: Some(format!("{name}-RESULTS")),
        routes: vec![format!("{name}-ROUTE")],
        dead_letter_topic: format!("{name}-DEAD"),
        properties: [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..KafkaConfig::default()
    }
}

pub(crate) fn topics(config: &KafkaConfig) -> [&str; 3] {
    let results = config.results_topic.as_deref().expect("a results topic");
    [&config.topic, results, &config.dead_letter_topic]
}

pub(crate) struct Kafka(pub(crate) KafkaConfig);

impl Harness for Kafka {
    type Transport = KafkaTransport;

    async fn connect(&self) -> KafkaTransport {
        KafkaTransport::connect(&self.0).await.expect("connected")
    }

    async fn send(&self, messages: Vec<Outbound>) -> Vec<String> {
        let publisher = KafkaPublisher::connect(&self.0).await.expect("a producer");
        let mut ids = Vec::new();
        for message in messages {
            ids.push(publisher.publish(message).await.expect("confirmed"));
        }
        ids
    }

    async fn results(&self) -> Vec<Outbound> {
        read(&self.0, topics(&self.0)[1]).await
    }

    async fn dead_letters(&self) -> Vec<Outbound> {
        read(&self.0, topics(&self.0)[2]).await
    }

    fn route(&self) -> Option<&str> {
        self.0.routes.first().map(String::as_str)
    }

    async fn routed(&self) -> Vec<Outbound> {
        read(&self.0, &self.0.routes[0]).await
    }

    #[cfg(feature = "faults")]
    async fn abort_settlements(&self, transport: &mut KafkaTransport, count: usize) {
        transport.abort_transactions(count);
    }

    fn max_message_bytes(&self) -> Option<usize> {
        // The client's own bound.
        Some(1_000_000)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The ids that results answer, sorted.
#[allow(dead_code, reason = "not both suites use it")]
pub(crate) fn answered(results: &[Outbound]) -> Vec<String> {
    let ids = results.iter().map(|result| result.attributes.text("id").expect("an id"));
    let mut ids: Vec<_> = ids.map(str::to_owned).collect();
    ids.sort_unstable();
    ids
}

/// Everything on a topic, up to its present end.
pub(crate) async fn read(config: &KafkaConfig, topic: &str) -> Vec<Outbound> {
    let (servers, topic) = (config.bootstrap_servers.clone(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_blocking(&servers, &topic)).await.expect("read")
}

fn read_blocking(servers: &str, topic: &str) -> Vec<Outbound> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "test-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut unread: BTreeSet<i32> = (0..PARTITIONS).collect();
    let mut deadline = Instant::now() + READ_TIMEOUT;
    let mut messages = Vec::new();
    while !unread.is_empty() {
        assert!(Instant::now() < deadline, "partitions {unread:?} of {topic} cannot be read");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        deadline = Instant::now() + READ_TIMEOUT;
        let message = match message {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(partition)) => {
                unread.remove(&partition);
                continue;
            }
            Err(_) => continue,
        };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let attributes: Attributes = headers
            .map(|h| (h.key.to_owned(), Bytes::copy_from_slice(h.value.unwrap_or_default())))
            .collect();
        messages.push(Outbound {
            key: message.key().map(Bytes::copy_from_slice),
            attributes,
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            ..Outbound::default()
        });
    }
    messages
}
