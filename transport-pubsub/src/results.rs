//! Reads results, for a page.

use std::time::Duration;

use bytes::Bytes;
use google_cloud_pubsub::client::Subscriber;
use stream_inference::{Supervisor, pipeline::BatchConfig, transport::TransportError};

use crate::{
    PubSubConfig, PubSubError,
    config::RESULTS_TOPIC,
    connect::Connection,
    error::stream_error,
    intake::{Bounds, Intake, Received},
    provision::server::Server,
};

/// Nothing is worked on here, so the shortest lease that Pub/Sub has will do.
const LEASE: Duration = Duration::from_secs(10);

/// Results as they are published: what a page shows.
///
/// A view, not a record: each result is acknowledged when it is read, and of several readers of one
/// subscription each sees a part.
#[derive(Debug)]
pub struct PubSubResults {
    subscriber: Subscriber,
    subscription: String,
    bounds: Bounds,
    supervisor: Supervisor,
    intake: Option<Intake>,
}

impl PubSubResults {
    /// A reader of `config.results_subscription_id`; `None` where none is configured.
    ///
    /// # Errors
    /// As [`PubSubTransport::connect`](crate::PubSubTransport::connect).
    pub async fn connect(config: &PubSubConfig) -> Result<Option<Self>, PubSubError> {
        let Some(id) = &config.results_subscription_id else { return Ok(None) };
        let connection = Connection::new(config)?;
        let topic = config.results_topic.as_deref().unwrap_or(RESULTS_TOPIC);
        Server::connect(&connection).await?.check_reader(id, topic).await?;
        Ok(Some(Self {
            subscriber: connection.subscriber().await?,
            subscription: config.subscription_name(id),
            bounds: Bounds::new(&BatchConfig::default()),
            supervisor: Supervisor::new(),
            intake: None,
        }))
    }

    /// Waits for the next result, as it was published. Cancel safe.
    ///
    /// # Errors
    /// As [`Transport::recv`](stream_inference::transport::Transport::recv).
    pub async fn next(&mut self) -> Result<Bytes, TransportError> {
        let Self { subscriber, subscription, bounds, supervisor, intake } = self;
        let open = || Intake::open(subscriber, subscription, LEASE, bounds, supervisor);
        let intake = intake.get_or_insert_with(open);
        match intake.next().await {
            Some(Ok(Received { message, handler, .. })) => {
                handler.ack();
                Ok(message.data)
            }
            ended => {
                self.intake = None;
                match self.supervisor.failure() {
                    Some(reason) => Err(TransportError::fatal(&*reason, None)),
                    None => Err(stream_error(&self.subscription, ended.and_then(Result::err))),
                }
            }
        }
    }
}
