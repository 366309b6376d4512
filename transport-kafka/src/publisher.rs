//! Publishes requests.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, Producer},
};
use stream_inference::transport::{Outbound, PublishError, Publisher};

use crate::{
    KafkaConfig, KafkaPlace, KafkaSetupError,
    connect::{blocking, log::Logged},
    wire,
};

/// How long a publication may wait for its confirmation.
const TIMEOUT_MS: u32 = 8_000;
/// How long a broker may take to answer a probe.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Publishes to the input topic and waits for the delivery report.
#[derive(Clone)]
pub struct KafkaPublisher {
    producer: FutureProducer<Logged>,
    topic: Arc<str>,
    servers: Arc<str>,
}

impl KafkaPublisher {
    /// A publisher on `config.topic`. It asks the broker nothing yet.
    ///
    /// # Errors
    /// If librdkafka or this library refuses the configuration.
    pub async fn connect(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        // librdkafka reads certificates and starts its threads.
        let producer = blocking(config, |config| {
            let client = config.producer(TIMEOUT_MS)?.create_with_context(Logged);
            client.map_err(KafkaSetupError::Configuration)
        });
        let producer = producer.await?;
        let (topic, servers) = (config.topic.as_str(), config.bootstrap_servers.as_str());
        Ok(Self { producer, topic: topic.into(), servers: servers.into() })
    }

    /// Whether the broker answers and the topic exists; waits up to 2 s.
    ///
    /// # Errors
    /// [`KafkaSetupError::Unreachable`], or [`KafkaSetupError::MissingTopic`].
    pub async fn probe(&self) -> Result<(), KafkaSetupError> {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || this.ask());
        asked.await.map_err(|_| KafkaSetupError::ThreadEnded)?
    }

    fn ask(&self) -> Result<(), KafkaSetupError> {
        let servers = self.servers.to_string();
        let found = match self.producer.client().fetch_metadata(Some(&self.topic), PROBE_WAIT) {
            Ok(found) => found,
            Err(source) => return Err(KafkaSetupError::Unreachable { servers, source }),
        };
        if found.topics().iter().all(|topic| topic.error().is_none()) {
            return Ok(());
        }
        Err(KafkaSetupError::MissingTopic { topic: self.topic.to_string(), servers })
    }
}

impl Publisher for KafkaPublisher {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        let record = wire::record(&self.topic, &message);
        let wait = Duration::from_millis(TIMEOUT_MS.into());
        match self.producer.send(record, wait).await {
            Ok(sent) => {
                let (topic, partition, offset) = (&*self.topic, sent.partition, sent.offset);
                Ok(KafkaPlace { topic, partition, offset }.to_string())
            }
            Err((error, _)) => Err(failure(&self.topic, &self.servers, error)),
        }
    }
}

/// Only what is wrong with the message is refused; a topic that is missing or takes nothing is not
/// the caller's fault, and may be there next time.
fn failure(topic: &str, servers: &str, error: KafkaError) -> PublishError {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    let source = Some(error.into());
    let why = match code {
        Some(Code::MessageSizeTooLarge) => {
            let context = format!("a message to {topic} is larger than Kafka takes");
            return PublishError::Refused { context, source };
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => "has no such topic",
        Some(Code::TopicAuthorizationFailed) => "does not allow it",
        _ => "did not confirm it",
    };
    let context = format!("a message to {topic}: Kafka at {servers} {why}");
    PublishError::Unavailable { context, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_is_too_large_is_at_fault_itself() {
        use RDKafkaErrorCode as Code;
        let failed = |code| failure("IN", "kafka:9092", KafkaError::MessageProduction(code));
        let large = failed(Code::MessageSizeTooLarge);
        assert!(matches!(large, PublishError::Refused { .. }), "{large}");
        for (code, why) in [
            (Code::UnknownTopicOrPartition, "has no such topic"),
            (Code::UnknownTopic, "has no such topic"),
            (Code::TopicAuthorizationFailed, "does not allow it"),
            (Code::MessageTimedOut, "did not confirm it"),
        ] {
            let away = failed(code);
            assert!(matches!(away, PublishError::Unavailable { .. }), "{away}");
            assert!(away.to_string().contains(why), "{away}");
        }
    }
}
