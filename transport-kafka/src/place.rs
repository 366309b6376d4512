//! Where a message stands.

use std::fmt;

use rdkafka::{Offset, TopicPartitionList, error::KafkaResult};

/// Where a message stands on Kafka; its id is this in words, `TOPIC/3/1042`.
///
/// ```
/// use transport_kafka::KafkaPlace;
///
/// let place = KafkaPlace { topic: "INFERENCE", partition: 3, offset: 1042 };
/// assert_eq!(place.to_string(), "INFERENCE/3/1042");
/// assert_eq!(KafkaPlace::parse("INFERENCE/3/1042"), Some(place));
/// assert_eq!(KafkaPlace::parse("INFERENCE/1042"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaPlace<'t> {
    /// The topic.
    pub topic: &'t str,
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl<'t> KafkaPlace<'t> {
    /// The place that an id says; `None` where it is no message's of Kafka.
    pub fn parse(id: &'t str) -> Option<Self> {
        let (rest, offset) = id.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        Some(Self { topic, partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for KafkaPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset } = self;
        write!(f, "{topic}/{partition}/{offset}")
    }
}

/// Partitions of a topic, without places.
pub(crate) fn list(topic: &str, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition);
    }
    list
}

/// Places of a topic, one a partition.
pub(crate) fn places(
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, i64)>,
) -> KafkaResult<TopicPartitionList> {
    let mut places = TopicPartitionList::new();
    for (partition, offset) in offsets {
        places.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(places)
}
