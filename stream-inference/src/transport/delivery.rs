//! What transports and pipelines hand each other: deliveries one way, outcomes the other, and the count of
//! what became of them. A delivery's id is a function of its coordinates alone.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Attributes;

/// One message and the broker's claim on it. Dropped unsettled, it is delivered again.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The same on every redelivery: `TOPIC/3/1042` on Kafka, the message id on Pub/Sub.
    pub id: String,
    /// Where it came from, as results and dead letters say.
    pub source: Source,
    /// Its ordering domain; `None` when unordered.
    pub lane: Option<Lane>,
    /// Counts from 1, and one further for each time that this message itself failed, not for what an
    /// earlier one of its lane pulled back; `None` when the broker does not say.
    pub attempt: Option<u32>,
    /// Record key or ordering key.
    pub key: Option<Bytes>,
    /// Headers or attributes.
    pub attributes: Attributes,
    /// The message's bytes.
    pub payload: Bytes,
    /// The broker's claim.
    pub token: T,
}

impl<T> Delivery<T> {
    /// What key, attributes and payload take, in bytes: what limits and budgets count.
    pub fn size_bytes(&self) -> usize {
        size_bytes(self.key.as_ref(), &self.attributes, &self.payload)
    }
}

fn size_bytes(key: Option<&Bytes>, attributes: &Attributes, payload: &Bytes) -> usize {
    key.map_or(0, Bytes::len) + attributes.size_bytes() + payload.len()
}

/// A message's coordinates in its broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// `kafka`, `pubsub`, `memory`, or the name of a transport of your own.
    pub transport: Arc<str>,
    /// Topic, or subscription where the topic is not known to the consumer.
    pub topic: Arc<str>,
    /// Kafka's partition.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<i32>,
    /// Kafka's offset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<i64>,
    /// Pub/Sub's message id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<String>,
}

/// An ordering domain: its messages are received, published and acknowledged in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A partition of a log.
    Partition {
        /// The topic.
        topic: Arc<str>,
        /// The partition's number.
        partition: i32,
    },
    /// An ordering key.
    Key(Arc<str>),
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Publish these results (parts of one answer, in order), then acknowledge. An answer that the
    /// broker refuses for its size goes to the dead letters instead, at [`Stage::Publish`].
    Publish(Vec<Outbound>),
    /// Every sink has it; acknowledge.
    Recorded,
    /// Answered, and its codec publishes no such result; acknowledge.
    Filtered,
    /// Deliver it again.
    Retry,
    /// Dead-letter it, confirmed, then acknowledge.
    Reject(Rejection),
}

impl Outcome {
    /// Whether the message is answered, by a result that is published, recorded or filtered.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Recorded | Self::Filtered)
    }

    /// What a message comes to whose outcome this is, once it is carried out.
    pub const fn fate(&self) -> Fate {
        match self {
            Self::Publish(_) => Fate::Published,
            Self::Recorded => Fate::Recorded,
            Self::Filtered => Fate::Filtered,
            Self::Retry => Fate::Retried,
            Self::Reject(_) => Fate::Rejected,
        }
    }
}

/// What one settled message came to: a count of [`Settlement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// [`Settlement::published`].
    Published,
    /// [`Settlement::recorded`].
    Recorded,
    /// [`Settlement::filtered`].
    Filtered,
    /// [`Settlement::rejected`].
    Rejected,
    /// [`Settlement::retried`].
    Retried,
    /// [`Settlement::stale`].
    Stale,
}

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbound {
    /// Which of the transport's [routes](super::Transport::has_route) a result goes to; `None` is the
    /// results topic. What is published otherwise, requests and dead letters, has none.
    pub topic: Option<Arc<str>>,
    /// Record key or ordering key.
    pub key: Option<Bytes>,
    /// Headers or attributes.
    pub attributes: Attributes,
    /// The message's bytes.
    pub payload: Bytes,
}

impl Outbound {
    /// What key, attributes and payload take, in bytes.
    pub fn size_bytes(&self) -> usize {
        size_bytes(self.key.as_ref(), &self.attributes, &self.payload)
    }
}

/// Why a message goes to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The step that refused it.
    pub stage: Stage,
    /// The reason, for a person.
    pub reason: String,
}

impl Rejection {
    /// What fits into a header everywhere; Pub/Sub takes 1,024 bytes.
    const MAX_REASON_BYTES: usize = 1_000;

    /// A rejection at `stage` for `reason`, which may quote what came: it is cut to 1,000 bytes.
    pub fn new(stage: Stage, reason: impl Into<String>) -> Self {
        const ELLIPSIS: &str = "…";
        let mut reason = reason.into();
        if reason.len() > Self::MAX_REASON_BYTES {
            reason.truncate(reason.floor_char_boundary(Self::MAX_REASON_BYTES - ELLIPSIS.len()));
            reason.push_str(ELLIPSIS);
        }
        Self { stage, reason }
    }

    /// Why a message goes to the dead letters whose result the broker refuses for its size, which is
    /// `bytes` with key and attributes.
    pub fn unpublishable(bytes: usize) -> Self {
        let reason = format!(
            "the broker does not take a result of {bytes} bytes, key and headers counted; see \
             results.max_result_bytes and the broker's own limit"
        );
        Self::new(Stage::Publish, reason)
    }
}

named! {
    /// The steps of the pipeline, as dead letters name them, in the order of a message's way.
    #[non_exhaustive]
    pub enum Stage {
        /// Bytes to request.
        Decode = "DECODE",
        /// Request against the data set and the model.
        Validate = "VALIDATE",
        /// Inputs to outputs.
        Infer = "INFER",
        /// Outputs to bytes.
        Encode = "ENCODE",
        /// Bytes to the broker.
        Publish = "PUBLISH",
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a message that may end the process that works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashes {
    /// How often a process ended without a farewell while this message alone was in flight.
    pub count: u32,
    /// The stage that it was in the last time.
    pub stage: Stage,
}

impl Crashes {
    /// Why it goes to the dead letters.
    pub fn rejection(&self) -> Rejection {
        let Self { count, stage } = *self;
        let reason = format!(
            "the process ended without a farewell {count} times while this message alone was in flight"
        );
        Rejection::new(stage, reason)
    }
}

/// What a settled batch came to, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Results confirmed and acknowledged.
    pub published: usize,
    /// Acknowledged without a result of their own.
    pub recorded: usize,
    /// Acknowledged with a result that is not published.
    pub filtered: usize,
    /// Dead letters confirmed and acknowledged.
    pub rejected: usize,
    /// To be delivered again.
    pub retried: usize,
    /// The claim had gone: revoked partition or expired lease. They are delivered again.
    pub stale: usize,
}

impl Settlement {
    /// Counts a message.
    pub const fn count(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Published => &mut self.published,
            Fate::Recorded => &mut self.recorded,
            Fate::Filtered => &mut self.filtered,
            Fate::Rejected => &mut self.rejected,
            Fate::Retried => &mut self.retried,
            Fate::Stale => &mut self.stale,
        };
        *count += 1;
    }

    /// Messages that came to an end; the others are delivered again.
    pub const fn ended(&self) -> usize {
        self.published + self.recorded + self.filtered + self.rejected
    }
}

impl std::ops::AddAssign for Settlement {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.recorded += other.recorded;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.retried += other.retried;
        self.stale += other.stale;
    }
}
