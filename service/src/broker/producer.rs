use std::{pin::Pin, sync::Arc, time::Duration};

use stream_inference::transport::{Outbound, PublishError, Publisher};
use tokio::time::timeout;

/// How long a broker may take to confirm, before the caller hears 503.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(12);
/// How long a broker may take to answer a readiness probe.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// What a broker answers in a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

type Publish = dyn Fn(Outbound) -> Later<'static, Result<String, PublishError>> + Send + Sync;
type Probe = dyn Fn() -> Later<'static, Result<(), Trouble>> + Send + Sync;
/// Why a broker can't be reached.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A broker that requests are published to.
#[derive(Clone)]
pub struct Producer {
    name: &'static str,
    publish: Arc<Publish>,
    probe: Arc<Probe>,
}

impl Producer {
    /// The broker of that name behind any publisher; it counts as reachable until a probe is added.
    pub fn new(name: &'static str, publisher: impl Publisher) -> Self {
        Self {
            name,
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
        F: Future<Output = Result<(), Trouble>> + Send + 'static,
    {
        self.probe = Arc::new(move || Box::pin(probe()));
        self
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Publishes within a deadline and returns the broker's id.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        timeout(PUBLISH_DEADLINE, (self.publish)(message)).await.unwrap_or_else(|_| {
            let context = format!("no answer within {} s", PUBLISH_DEADLINE.as_secs());
            Err(PublishError::Unavailable { context, source: None })
        })
    }

    /// Asks whether it can be reached.
    ///
    /// # Errors
    /// When it can't be, or does not answer within a deadline.
    pub async fn probe(&self) -> Result<(), Trouble> {
        timeout(PROBE_DEADLINE, (self.probe)()).await?
    }
}
