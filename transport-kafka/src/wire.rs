//! Kafka's records and the library's messages.

use bytes::Bytes;
use fmnist_core::transport::{Attributes, Outbound};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{BaseRecord, FutureRecord},
};

/// A record on its way from the client's memory to a delivery.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) attributes: Attributes,
    pub(crate) payload: Bytes,
}

impl From<&BorrowedMessage<'_>> for Fetched {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let mut attributes = Attributes::new();
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            match header.value {
                Some(value) => attributes.push(header.key, Bytes::copy_from_slice(value)),
                None => attributes.push_null(header.key),
            }
        }
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Bytes::copy_from_slice),
            attributes,
            payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }
}

/// The record that carries `message` to `topic`; headers and key bytes as they are.
pub(crate) fn record<'a>(topic: &'a str, message: &'a Outbound) -> FutureRecord<'a, [u8], [u8]> {
    let mut record = FutureRecord::to(topic).payload(&message.payload[..]);
    if let Some(key) = &message.key {
        record = record.key(&key[..]);
    }
    if let Some(headers) = headers(&message.attributes) {
        record = record.headers(headers);
    }
    record
}

/// As [`record`], with a number that its delivery report carries.
pub(crate) fn numbered_record<'a>(
    topic: &'a str,
    message: &'a Outbound,
    number: usize,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(topic, number).payload(&message.payload[..]);
    if let Some(key) = &message.key {
        record = record.key(&key[..]);
    }
    if let Some(headers) = headers(&message.attributes) {
        record = record.headers(headers);
    }
    record
}

fn headers(attributes: &Attributes) -> Option<OwnedHeaders> {
    if attributes.is_empty() {
        return None;
    }
    let mut headers = OwnedHeaders::new_with_capacity(attributes.len());
    for (key, value) in attributes.iter() {
        headers = headers.insert(Header { key, value: value.map(|bytes| &bytes[..]) });
    }
    Some(headers)
}
