//! Results that consumers publish, for a page in a process of its own.

use std::{sync::Arc, time::Duration};

use fmnist_core::{Part, Supervisor, message::ResultRecord};
use service::Broker;
use tokio::sync::broadcast;

use crate::config::Config;

/// Between two attempts to reach a broker.
const PAUSE: Duration = Duration::from_secs(3);
/// Results that a slow page may lag behind.
const LIVE_RESULTS: usize = 256;

/// Reads the results of every broker where they can be read: Kafka's results topic from its end, Pub/Sub's
/// results subscription. `None` where no such place is configured.
///
/// The readers wait for brokers that are away, and end with the present runtime; they are among the
/// program's `parts`.
pub fn read_results(
    config: &Config,
    parts: &Supervisor,
) -> Option<broadcast::Sender<Arc<ResultRecord>>> {
    let (results, _) = broadcast::channel(LIVE_RESULTS);
    let mut brokers = config.brokers();
    brokers.retain(|broker| broker.is_configured() && broker.results().is_some());
    for broker in &brokers {
        let part = parts.part(format!("task that reads {}'s results", broker.title()));
        tokio::spawn(read(Arc::clone(broker), results.clone(), part));
    }
    (!brokers.is_empty()).then_some(results)
}

async fn read(broker: Arc<dyn Broker>, results: broadcast::Sender<Arc<ResultRecord>>, _part: Part) {
    let mut reader = loop {
        let Some(connected) = broker.results() else { return };
        match connected.await {
            Ok(reader) => break reader,
            Err(error) => wait(&*broker, &*error).await,
        }
    };
    loop {
        match reader.next().await {
            Ok(payload) => pass_on(&payload, &results),
            Err(error) => wait(&*broker, &error).await,
        }
    }
}

async fn wait(broker: &dyn Broker, error: &(dyn std::error::Error + Send + Sync + 'static)) {
    let title = broker.title();
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "{title}'s results can't be read for now"
    );
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
            Some("the task that reads Google Pub/Sub's results ended early")
        );
    }
}
