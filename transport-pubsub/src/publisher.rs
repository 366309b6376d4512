//! Publishes requests.

use std::{sync::Arc, time::Duration};

use stream_inference::transport::{Outbound, PublishError, Publisher};
use tokio::time::Instant;

use crate::{
    PubSubConfig, PubSubError,
    connect::{Connection, topic::Topic},
    provision::server::Server,
    wire,
};

/// How long the broker may take to confirm one message.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(10);

/// Publishes on the input topic: what front ends and producers use.
///
/// A key becomes the ordering key; messages of a key arrive in order when each is awaited before the
/// next.
#[derive(Clone)]
pub struct PubSubPublisher {
    topic: Topic,
    server: Arc<Server>,
    topic_id: Arc<str>,
}

impl std::fmt::Debug for PubSubPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSubPublisher").field("topic", &self.topic.name()).finish_non_exhaustive()
    }
}

impl PubSubPublisher {
    /// A publisher on `config.topic`. It asks the server nothing yet.
    ///
    /// # Errors
    /// When there is no project or there are no credentials.
    pub async fn connect(config: &PubSubConfig) -> Result<Self, PubSubError> {
        let connection = Connection::new(config)?;
        Ok(Self {
            topic: connection.topic(&config.topic).await?,
            server: Arc::new(Server::connect(&connection).await?),
            topic_id: config.topic.as_str().into(),
        })
    }

    /// Whether the server answers and the topic exists; waits up to 10 s.
    ///
    /// # Errors
    /// See [`PubSubError`].
    pub async fn probe(&self) -> Result<(), PubSubError> {
        self.server.check_topic(&self.topic_id).await
    }
}

impl Publisher for PubSubPublisher {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        let message = wire::exact(message).map_err(|reason| PublishError::Refused {
            context: format!("Pub/Sub can't carry this message: {reason}"),
            source: None,
        })?;
        self.topic
            .publish_alone(message, Instant::now() + CONFIRM_DEADLINE)
            .await
            .map_err(|error| error.into_publish_error(self.topic.name()))
    }
}
