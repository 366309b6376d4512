use std::{sync::Arc, time::Duration};

use fmnist_core::transport::{Outbound, PublishError, Publisher};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, Producer},
};

use crate::{KafkaConfig, KafkaSetupError, log::Logged, wire};

/// How long a publication may wait for its confirmation.
const TIMEOUT_MS: u32 = 8_000;

/// Publishes to the input topic and waits for the delivery report.
#[derive(Clone)]
pub struct KafkaPublisher {
    producer: FutureProducer<Logged>,
    topic: Arc<str>,
    servers: Arc<str>,
}

impl KafkaPublisher {
    /// A publisher to `config.topic`. Does not wait for the broker.
    ///
    /// # Errors
    /// If librdkafka or this library refuses the configuration.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let producer = config
            .producer(TIMEOUT_MS)?
            .create_with_context(Logged)
            .map_err(KafkaSetupError::Configuration)?;
        let (topic, servers) = (config.topic.as_str(), config.bootstrap_servers.as_str());
        Ok(Self { producer, topic: topic.into(), servers: servers.into() })
    }

    /// Whether a broker answers within `timeout` and knows the topic.
    pub async fn is_available(&self, timeout: Duration) -> bool {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = this.producer.client().fetch_metadata(Some(&this.topic), timeout);
            metadata.is_ok_and(|found| found.topics().iter().all(|topic| topic.error().is_none()))
        });
        asked.await.unwrap_or(false)
    }
}

impl Publisher for KafkaPublisher {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        let record = wire::record(&self.topic, &message);
        let wait = Duration::from_millis(TIMEOUT_MS.into());
        match self.producer.send(record, wait).await {
            Ok(sent) => Ok(format!("{}/{}/{}", self.topic, sent.partition, sent.offset)),
            Err((error, _)) => Err(failure(&self.topic, &self.servers, error)),
        }
    }
}

fn failure(topic: &str, servers: &str, error: KafkaError) -> PublishError {
    use RDKafkaErrorCode as Code;
    let refused = match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge) => Some("is larger than Kafka takes"),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Some("has no such topic"),
        Some(Code::TopicAuthorizationFailed) => Some("is not allowed"),
        _ => None,
    };
    let source = Some(error.into());
    match refused {
        Some(why) => {
            PublishError::Refused { context: format!("publishing to {topic} {why}"), source }
        }
        None => PublishError::Unavailable {
            context: format!("Kafka at {servers} did not confirm a message to {topic}"),
            source,
        },
    }
}
