//! What is on a topic now, read or only counted, outside of any group.

use std::time::Duration;

use rdkafka::{
    Message, Offset,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
};
use stream_inference::transport::Outbound;

use crate::{
    KafkaConfig, KafkaPlace, KafkaSetupError, connect::log::Logged, place::list, place::places,
    provision, wire::Fetched,
};

const WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// Without a message or an end of a partition for so long, the broker is taken to be away.
const PATIENCE_POLLS: usize = 300;

/// Where in a topic to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaStart {
    /// At the oldest message.
    Beginning,
    /// At this offset of every partition, or at the oldest message where that is later.
    Offset(i64),
    /// At the first message of this time or later, in milliseconds since 1970.
    Time(i64),
}

/// What is on a topic now: a read from a place to an end, outside of any group, of committed
/// messages only.
///
/// Every call blocks.
pub struct KafkaHistory {
    consumer: BaseConsumer<Logged>,
    config: KafkaConfig,
    spans: Vec<KafkaSpan>,
    unfinished: Vec<i32>,
}

/// The offsets of one partition that a [`KafkaHistory`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaSpan {
    /// The partition.
    pub partition: i32,
    /// First offset that is read.
    pub start: i64,
    /// One past the last offset that is read.
    pub end: i64,
}

/// A message with its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KafkaRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970; `None` where the broker does not say.
    pub written_ms: Option<i64>,
    /// Key, headers and payload.
    pub message: Outbound,
}

impl KafkaRecord {
    /// Where the message stands on the topic that was read.
    pub const fn place<'t>(&self, topic: &'t str) -> KafkaPlace<'t> {
        KafkaPlace { topic, partition: self.partition, offset: self.offset }
    }
}

impl KafkaHistory {
    /// Opens `topic` from `start` to its present end, or to the first message of `until_ms` or
    /// later, in milliseconds since 1970.
    ///
    /// # Errors
    /// If the broker is away or there is no such topic.
    pub fn open(
        config: &KafkaConfig,
        topic: &str,
        start: KafkaStart,
        until_ms: Option<i64>,
    ) -> Result<Self, KafkaSetupError> {
        let mut client = config.reader()?;
        client.set("enable.partition.eof", "true");
        let consumer: BaseConsumer<Logged> =
            client.create_with_context(Logged).map_err(KafkaSetupError::Configuration)?;
        let spans = spans(&consumer, config, topic, start, until_ms)?;
        let unread = || spans.iter().filter(|span| span.start < span.end);
        places(topic, unread().map(|span| (span.partition, span.start)))
            .and_then(|assignment| consumer.assign(&assignment))
            .map_err(KafkaSetupError::Configuration)?;
        let unfinished = unread().map(|span| span.partition).collect();
        Ok(Self { consumer, config: config.clone(), spans, unfinished })
    }

    /// What is read of each partition.
    pub fn spans(&self) -> &[KafkaSpan] {
        &self.spans
    }

    /// The next message, in order within a partition; `None` at the end.
    ///
    /// # Errors
    /// If the broker is away for half a minute.
    pub fn next_record(&mut self) -> Result<Option<KafkaRecord>, KafkaSetupError> {
        let mut empty_polls = 0;
        let mut last = KafkaError::Canceled;
        while !self.unfinished.is_empty() {
            if empty_polls == PATIENCE_POLLS {
                return Err(unreachable_at(&self.config, last));
            }
            let message = match self.consumer.poll(POLL) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.unfinished.retain(|other| *other != partition);
                    continue;
                }
                nothing => {
                    last = nothing.and_then(Result::err).unwrap_or(last);
                    empty_polls += 1;
                    continue;
                }
            };
            let (partition, offset) = (message.partition(), message.offset());
            let end = self.spans.iter().find(|s| s.partition == partition).map_or(0, |s| s.end);
            if offset + 1 >= end {
                self.unfinished.retain(|other| *other != partition);
            }
            if offset >= end {
                continue;
            }
            let written_ms = message.timestamp().to_millis();
            let Fetched { key, attributes, payload, .. } = Fetched::from(&message);
            let message = Outbound { key, attributes, payload, ..Outbound::default() };
            return Ok(Some(KafkaRecord { partition, offset, written_ms, message }));
        }
        Ok(None)
    }
}

/// What the input topic has now, from `start` to its end, by its offsets alone: nothing is read.
///
/// Blocks.
///
/// # Errors
/// If the broker is away or there is no such topic.
pub fn topic_spans(
    config: &KafkaConfig,
    start: KafkaStart,
) -> Result<Vec<KafkaSpan>, KafkaSetupError> {
    spans(&outsider(config)?, config, &config.topic, start, None)
}

/// Commits places for a group without members, so that its consumers begin there.
///
/// Blocks.
///
/// # Errors
/// If the broker is away, or the group has members.
pub fn set_group_start(config: &KafkaConfig, start: KafkaStart) -> Result<(), KafkaSetupError> {
    let member = outsider(config)?;
    let spans = spans(&member, config, &config.topic, start, None)?;
    places(&config.topic, spans.iter().map(|span| (span.partition, span.start)))
        .and_then(|places| member.commit(&places, CommitMode::Sync))
        .map_err(|source| unreachable_at(config, source))
}

/// How many messages of `spans` the group has not committed, as offsets.
///
/// Blocks.
///
/// # Errors
/// If the broker is away.
pub fn group_lag(config: &KafkaConfig, spans: &[KafkaSpan]) -> Result<i64, KafkaSetupError> {
    let member = outsider(config)?;
    let partitions = list(&config.topic, spans.iter().map(|span| span.partition));
    let committed = member
        .committed_offsets(partitions, WAIT)
        .map_err(|source| unreachable_at(config, source))?;
    let lag = |span: &KafkaSpan| {
        let found = committed.find_partition(&config.topic, span.partition);
        let done = match found.map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => span.start,
        };
        (span.end - done).max(0)
    };
    Ok(spans.iter().map(lag).sum())
}

/// A client that knows the group and is no member of it.
pub(crate) fn outsider(config: &KafkaConfig) -> Result<BaseConsumer<Logged>, KafkaSetupError> {
    let mut client = config.reader()?;
    client.set("group.id", &config.group_id);
    client.create_with_context(Logged).map_err(KafkaSetupError::Configuration)
}

pub(crate) fn spans(
    consumer: &BaseConsumer<Logged>,
    config: &KafkaConfig,
    topic: &str,
    start: KafkaStart,
    until_ms: Option<i64>,
) -> Result<Vec<KafkaSpan>, KafkaSetupError> {
    let partitions = provision::partitions(config, [topic].into_iter())?.remove(0);
    let of = |partition| span(consumer, topic, partition, start, until_ms);
    let spans: Result<_, _> = partitions.into_iter().map(of).collect();
    spans.map_err(|source| unreachable_at(config, source))
}

fn span(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    partition: i32,
    start: KafkaStart,
    until_ms: Option<i64>,
) -> Result<KafkaSpan, KafkaError> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, WAIT)?;
    let at = |time_ms: i64| -> Result<i64, KafkaError> {
        let found = consumer.offsets_for_times(places(topic, [(partition, time_ms)])?, WAIT)?;
        Ok(match found.find_partition(topic, partition).map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => offset,
            // Nothing so late.
            _ => high,
        })
    };
    let start = match start {
        KafkaStart::Beginning => low,
        KafkaStart::Offset(offset) => offset.clamp(low, high),
        KafkaStart::Time(time_ms) => at(time_ms)?.max(low),
    };
    let end = until_ms.map_or(Ok(high), at)?;
    Ok(KafkaSpan { partition, start, end: end.max(start) })
}

pub(crate) fn unreachable_at(config: &KafkaConfig, source: KafkaError) -> KafkaSetupError {
    KafkaSetupError::Unreachable { servers: config.bootstrap_servers.clone(), source }
}
