use std::{fmt, future::Future, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use fmnist_core::transport::{Outbound, PublishError, Publisher};

/// How long a broker may take to confirm, before the caller hears 503.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(12);
/// How long a broker may take to answer a readiness probe.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The two message brokers of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// Apache Kafka.
    Kafka,
    /// Google Pub/Sub.
    PubSub,
}

impl BrokerKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kafka, Self::PubSub];

    /// `kafka` or `pubsub`, as in paths, forms and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::PubSub => "pubsub",
        }
    }
}

impl fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BrokerKind {
    type Err = UnknownBroker;

    fn from_str(name: &str) -> Result<Self, UnknownBroker> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownBroker { name: name.to_owned() })
    }
}

/// No broker has that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no broker {name:?}: expected kafka or pubsub")]
pub struct UnknownBroker {
    /// The name.
    pub name: String,
}

/// A broker that requests are published to.
#[derive(Clone)]
pub struct Broker {
    kind: BrokerKind,
    publish: Arc<dyn Fn(Outbound) -> Answer<String, PublishError> + Send + Sync>,
    probe: Arc<dyn Fn() -> Answer<(), PublishError> + Send + Sync>,
}

impl Broker {
    /// A broker behind any publisher; it counts as reachable until a probe is added.
    pub fn new(kind: BrokerKind, publisher: impl Publisher) -> Self {
        Self {
            kind,
            publish: Arc::new(move |message| {
                let publisher = publisher.clone();
                Box::pin(async move { publisher.publish(message).await })
            }),
            probe: Arc::new(|| Box::pin(async { Ok(()) })),
        }
    }

    /// Adds the question that `/readyz` asks.
    #[must_use]
    pub fn with_probe<F>(mut self, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), PublishError>> + Send + 'static,
    {
        self.probe = Arc::new(move || Box::pin(probe()));
        self
    }

    pub(crate) fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// Publishes within the deadline and answers the broker's id.
    pub(crate) async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        within(PUBLISH_DEADLINE, (self.publish)(message)).await
    }

    pub(crate) async fn probe(&self) -> Result<(), PublishError> {
        within(PROBE_DEADLINE, (self.probe)()).await
    }
}

async fn within<T>(deadline: Duration, answer: Answer<T, PublishError>) -> Result<T, PublishError> {
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
        let context = format!("no answer within {} s", deadline.as_secs());
        Err(PublishError::Unavailable { context, source: None })
    })
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("kind", &self.kind).finish_non_exhaustive()
    }
}
