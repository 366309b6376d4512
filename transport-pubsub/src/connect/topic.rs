//! What publishes on a topic, by Google's client.

use google_cloud_pubsub::{
    client::{BasePublisher, Publisher},
    model::Message,
    publisher::PublishFuture,
};
use tokio::time::{Duration, Instant, timeout_at};

use crate::error::Unpublished;

/// Google's client gathers messages for this long before it sends them together.
const GATHER: Duration = Duration::from_millis(2);

/// The server's limit is 1,000 messages a request; the client keeps to its limit of bytes itself.
const REQUEST_MESSAGES: u32 = 1000;

/// A topic to publish on.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    client: BasePublisher,
    name: String,
}

impl Topic {
    pub(crate) fn new(client: BasePublisher, name: String) -> Self {
        Self { client, name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Messages that are sent together.
    ///
    /// Google's publisher keeps a task for every ordering key that it ever saw (its issue 4012),
    /// and refuses a key after a failure until it is told to go on. So each round has a publisher
    /// of its own: two small tasks, and the connection is shared.
    pub(crate) fn round(&self) -> Round {
        let publisher = self
            .client
            .publisher(&self.name)
            .set_message_count_threshold(REQUEST_MESSAGES)
            .set_delay_threshold(GATHER)
            .build();
        Round(publisher)
    }

    /// Waits for the confirmation of a message behind others of its key that are confirmed.
    pub(crate) async fn confirm(
        &self,
        sent: Sent,
        deadline: Instant,
    ) -> Result<String, Unpublished> {
        match confirmation(sent.confirmation, deadline).await {
            // A malformed message fails all that were sent with it, and stops its ordering key: try
            // without the neighbours.
            Err(Unpublished::Message(_) | Unpublished::Paused(_)) => {
                self.publish_alone(sent.message, deadline).await
            }
            other => other,
        }
    }

    /// Publishes one message in a request of its own and waits for the confirmation.
    pub(crate) async fn publish_alone(
        &self,
        message: Message,
        deadline: Instant,
    ) -> Result<String, Unpublished> {
        let publisher = self.client.publisher(&self.name).set_message_count_threshold(1).build();
        confirmation(publisher.publish(message), deadline).await
    }
}

/// See [`Topic::round`].
#[derive(Debug)]
pub(crate) struct Round(Publisher);

/// A message on its way.
pub(crate) struct Sent {
    message: Message,
    confirmation: PublishFuture,
}

impl Sent {
    /// Waits for the confirmation, and no more than that.
    pub(crate) async fn confirmation(self, deadline: Instant) -> Result<String, Unpublished> {
        confirmation(self.confirmation, deadline).await
    }
}

impl Round {
    /// Sends a message; those of one ordering key arrive in the order of these calls, and none of
    /// them after one that failed.
    pub(crate) fn send(&self, message: Message) -> Sent {
        Sent { confirmation: self.0.publish(message.clone()), message }
    }
}

/// The client waits for ever for a server that is away; this does not.
async fn confirmation(publish: PublishFuture, deadline: Instant) -> Result<String, Unpublished> {
    match timeout_at(deadline, publish).await {
        Ok(confirmed) => confirmed.map_err(Unpublished::from_client),
        Err(_) => Err(Unpublished::Unavailable(None)),
    }
}
