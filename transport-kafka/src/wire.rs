//! Kafka's records and the library's messages.

mod headers;

use bytes::Bytes;
use rdkafka::{
    Message, Timestamp,
    message::{BorrowedMessage, OwnedMessage},
    producer::{BaseRecord, FutureRecord},
};
use stream_inference::transport::{Attributes, Outbound};

/// A record on its way from the client's memory to a delivery.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) attributes: Attributes,
    pub(crate) payload: Bytes,
}

impl Fetched {
    /// What key, headers and payload take, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let key = self.key.as_ref().map_or(0, Bytes::len);
        key + self.attributes.size_bytes() + self.payload.len()
    }
}

impl From<&BorrowedMessage<'_>> for Fetched {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Bytes::copy_from_slice),
            attributes: headers::read(message),
            payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }
}

/// The record that carries `message` to `topic`; headers and key bytes as they are.
pub(crate) fn record<'a>(topic: &'a str, message: &'a Outbound) -> FutureRecord<'a, [u8], [u8]> {
    FutureRecord {
        topic,
        partition: None,
        payload: Some(&message.payload[..]),
        key: message.key.as_deref(),
        timestamp: None,
        headers: headers::write(&message.attributes),
    }
}

/// As [`record`], with a number that its delivery report carries.
pub(crate) fn numbered_record<'a>(
    topic: &'a str,
    message: &'a Outbound,
    number: usize,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let FutureRecord { topic, partition, payload, key, timestamp, headers } =
        record(topic, message);
    BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque: number }
}

/// The record that sends a message again that came back with a failed report.
pub(crate) fn again(message: &OwnedMessage) -> FutureRecord<'_, [u8], [u8]> {
    FutureRecord {
        topic: message.topic(),
        partition: None,
        payload: message.payload(),
        key: message.key(),
        timestamp: None,
        headers: message.headers().cloned(),
    }
}

/// A record that the client did not take, to be kept.
pub(crate) fn owned(record: &FutureRecord<'_, [u8], [u8]>) -> OwnedMessage {
    OwnedMessage::new(
        record.payload.map(<[u8]>::to_vec),
        record.key.map(<[u8]>::to_vec),
        record.topic.to_owned(),
        Timestamp::NotAvailable,
        0,
        0,
        record.headers.clone(),
    )
}
