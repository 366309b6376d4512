use std::{sync::Arc, time::Duration};

use fmnist_core::{Part, Supervisor, message::ResultRecord, transport::PublishError};
use tokio::sync::broadcast;
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaResults, KafkaSetupError};
use transport_pubsub::{PubSubConfig, PubSubError, PubSubPublisher, PubSubResults};

use crate::{
    broker::{Broker, BrokerKind},
    config::Config,
};

/// Between two attempts to reach a broker.
const PAUSE: Duration = Duration::from_secs(3);
/// Results that a slow page may lag behind.
const LIVE_RESULTS: usize = 256;

/// The Kafka of the configuration, which may be away for now.
///
/// # Errors
/// When librdkafka refuses the configuration.
pub async fn kafka_broker(config: &KafkaConfig) -> Result<Broker, KafkaSetupError> {
    let publisher = KafkaPublisher::connect(config).await?;
    let probed = publisher.clone();
    Ok(Broker::new(BrokerKind::Kafka, publisher).with_probe(move || {
        let publisher = probed.clone();
        async move { publisher.probe().await.map_err(no_answer) }
    }))
}

/// The Pub/Sub of the configuration, which may be away for now.
///
/// # Errors
/// When there is no project or there are no credentials.
pub async fn pubsub_broker(config: &PubSubConfig) -> Result<Broker, PubSubError> {
    let publisher = PubSubPublisher::connect(config).await?;
    let probed = publisher.clone();
    Ok(Broker::new(BrokerKind::PubSub, publisher).with_probe(move || {
        let publisher = probed.clone();
        async move { publisher.probe().await.map_err(no_answer) }
    }))
}

fn no_answer(error: impl std::error::Error + Send + Sync + 'static) -> PublishError {
    PublishError::Unavailable {
        context: "the topic was asked for".to_owned(),
        source: Some(error.into()),
    }
}

/// Whether the configuration has a Pub/Sub at all: a project, or an emulator.
pub fn has_pubsub(config: &Config) -> bool {
    !config.pubsub.project_id.is_empty() || config.pubsub.emulator.is_some()
}

/// Kafka, and Pub/Sub where it is configured. A Pub/Sub that can't be set up is left out with a
/// warning: the old configuration names one that not everybody has.
///
/// # Errors
/// As [`kafka_broker`].
pub async fn connect_brokers(config: &Config) -> Result<Vec<Broker>, KafkaSetupError> {
    let mut brokers = vec![kafka_broker(&config.kafka).await?];
    if has_pubsub(config) {
        match pubsub_broker(&config.pubsub).await {
            Ok(broker) => brokers.push(broker),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Pub/Sub is left out");
            }
        }
    }
    Ok(brokers)
}

/// Reads the results that consumers publish, for a page in a process of its own: Kafka's results
/// topic from its end, Pub/Sub's results subscription. `None` where neither is configured.
///
/// The readers wait for brokers that are away, and end with the present runtime; they are among the
/// program's `parts`.
pub fn read_results(
    config: &Config,
    parts: &Supervisor,
) -> Option<broadcast::Sender<Arc<ResultRecord>>> {
    let (results, _) = broadcast::channel(LIVE_RESULTS);
    let has_kafka = config.kafka.results_topic().is_some();
    if has_kafka {
        let part = parts.part("task that reads Kafka's results");
        tokio::spawn(read_kafka(config.kafka.clone(), results.clone(), part));
    }
    let has_pubsub = has_pubsub(config) && config.pubsub.results_subscription_id.is_some();
    if has_pubsub {
        let part = parts.part("task that reads Pub/Sub's results");
        tokio::spawn(read_pubsub(config.pubsub.clone(), results.clone(), part));
    }
    (has_kafka || has_pubsub).then_some(results)
}

async fn read_kafka(
    config: KafkaConfig,
    results: broadcast::Sender<Arc<ResultRecord>>,
    _part: Part,
) {
    let mut reader = loop {
        match KafkaResults::connect(&config).await {
            Ok(Some(reader)) => break reader,
            Ok(None) => return,
            Err(error) => wait("Kafka's results can't be read yet", &error).await,
        }
    };
    loop {
        match reader.next().await {
            Ok(payload) => pass_on(&payload, &results),
            Err(error) => wait("Kafka's results can't be read for now", &error).await,
        }
    }
}

async fn read_pubsub(
    config: PubSubConfig,
    results: broadcast::Sender<Arc<ResultRecord>>,
    _part: Part,
) {
    let mut reader = loop {
        match PubSubResults::connect(&config).await {
            Ok(Some(reader)) => break reader,
            Ok(None) => return,
            Err(error) => wait("Pub/Sub's results can't be read yet", &error).await,
        }
    };
    loop {
        match reader.next().await {
            Ok(payload) => pass_on(&payload, &results),
            Err(error) => wait("Pub/Sub's results can't be read for now", &error).await,
        }
    }
}

async fn wait(what: &str, error: &(dyn std::error::Error + Send + Sync + 'static)) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
    tokio::time::sleep(PAUSE).await;
}

fn pass_on(payload: &[u8], results: &broadcast::Sender<Arc<ResultRecord>>) {
    match serde_json::from_slice::<ResultRecord>(payload) {
        // Without a page that listens there is no receiver, which is no error.
        Ok(record) => drop(results.send(Arc::new(record))),
        Err(error) => tracing::warn!(%error, "a message on the results topic is no result"),
    }
}

#[cfg(test)]
mod tests {
    use transport_pubsub::Emulator;

    use super::*;

    #[test]
    fn a_reader_of_results_that_ends_early_is_named() {
        let nobody = "127.0.0.1:1";
        let mut kafka = Config::default();
        kafka.kafka.bootstrap_servers = nobody.to_owned();
        let mut pubsub = Config::default();
        pubsub.kafka.results_topic = None;
        pubsub.pubsub.emulator = Some(Emulator::new(nobody).expect("an address"));
        pubsub.pubsub.results_subscription_id = Some("results".to_owned());
        let ended = |config: &Config| {
            let (parts, runtime) = (Supervisor::new(), tokio::runtime::Runtime::new().unwrap());
            let reading = runtime.block_on(async { read_results(config, &parts) });
            assert!(reading.is_some());
            assert_eq!(parts.failure(), None);
            runtime.shutdown_background();
            tokio::runtime::Runtime::new().unwrap().block_on(parts.ended())
        };
        assert_eq!(
            ended(&kafka).as_deref(),
            Some("the task that reads Kafka's results ended early")
        );
        assert_eq!(
            ended(&pubsub).as_deref(),
            Some("the task that reads Pub/Sub's results ended early")
        );
    }
}
