use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fmnist_core::{
    message::ResultRecord,
    transport::{Outbound, PublishError, Publisher},
};
use transport_kafka::KafkaPlace;

/// What Kafka stores beside the payload, generously.
const ENVELOPE_BYTES: usize = 128;

/// Bytes that were published and not yet answered, by partition.
///
/// librdkafka's mock keeps 5 MB a partition and then drops the oldest messages without a word, so
/// the demo stops before that.
#[derive(Debug)]
pub struct Backlog {
    limit_bytes: usize,
    partitions: Mutex<HashMap<i32, Partition>>,
}

#[derive(Debug, Default)]
struct Partition {
    waiting: BTreeMap<i64, usize>,
    /// Offsets below this one are answered.
    answered: i64,
}

impl Backlog {
    /// A backlog that takes `limit_bytes` over all partitions.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, partitions: Mutex::default() })
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.partitions().values().flat_map(|partition| partition.waiting.values()).sum()
    }

    fn add(&self, partition: i32, offset: i64, bytes: usize) {
        let mut partitions = self.partitions();
        let partition = partitions.entry(partition).or_default();
        if offset >= partition.answered {
            partition.waiting.insert(offset, bytes);
        }
    }

    /// Forgets what this result answers: a partition is answered in order.
    pub fn settle(&self, result: &ResultRecord) {
        let (Some(partition), Some(offset)) = (result.source.partition, result.source.offset)
        else {
            return;
        };
        let mut partitions = self.partitions();
        let partition = partitions.entry(partition).or_default();
        partition.answered = partition.answered.max(offset + 1);
        partition.waiting = partition.waiting.split_off(&partition.answered);
    }

    /// A panic between two changes leaves the bound a little off.
    fn partitions(&self) -> MutexGuard<'_, HashMap<i32, Partition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Kafka publisher that refuses what would exceed the backlog's limit.
#[derive(Clone)]
pub struct Bounded<P> {
    publisher: P,
    backlog: Arc<Backlog>,
}

impl<P> Bounded<P> {
    /// Puts the bound around `publisher`.
    pub const fn new(publisher: P, backlog: Arc<Backlog>) -> Self {
        Self { publisher, backlog }
    }
}

impl<P: Publisher> Publisher for Bounded<P> {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        let bytes = message.payload.len() + ENVELOPE_BYTES;
        if self.backlog.bytes() + bytes > self.backlog.limit_bytes {
            let context = "the demo's toy Kafka is full until the consumer catches up".to_owned();
            return Err(PublishError::Unavailable { context, source: None });
        }
        let id = self.publisher.publish(message).await?;
        if let Some(KafkaPlace { partition, offset, .. }) = KafkaPlace::parse(&id) {
            self.backlog.add(partition, offset, bytes);
        }
        Ok(id)
    }
}
