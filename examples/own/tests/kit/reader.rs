//! What is on a topic.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use stream_inference::transport::Outbound;

/// Partitions of a test's topics.
pub const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the committed messages of a topic from its beginning.
pub struct Reader(BaseConsumer);

impl Reader {
    /// Reads this topic.
    ///
    /// # Panics
    /// Where a test would.
    pub fn new(servers: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "test-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Self(consumer)
    }

    /// Waits for a further message.
    pub fn next(&self) -> Outbound {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no further message");
            if let Some(Ok(message)) = self.0.poll(Duration::from_millis(100)) {
                return outbound(&message);
            }
        }
    }

    /// All that is there, up to the present end of each partition.
    pub fn all(&self) -> Vec<Outbound> {
        let mut unread: BTreeSet<i32> = (0..PARTITIONS).collect();
        let mut messages = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !unread.is_empty() {
            assert!(Instant::now() < deadline, "partitions {unread:?} can't be read");
            match self.0.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => messages.push(outbound(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
                Some(Err(_)) | None => {}
            }
        }
        messages
    }
}

fn outbound(message: &BorrowedMessage<'_>) -> Outbound {
    let headers = message.headers().unwrap().iter();
    Outbound {
        key: message.key().map(|key| key.to_vec().into()),
        attributes: headers.map(|h| (h.key, h.value.unwrap().to_vec())).collect(),
        payload: message.payload().unwrap().to_vec().into(),
        ..Outbound::default()
    }
}

/// Which message this is the result of.
pub fn id(result: &Outbound) -> String {
    result.attributes.text("id").unwrap().to_owned()
}
