//! What a page asks of Kafka: whether it is there, and what results it has.

use std::time::Duration;

use bytes::Bytes;
use stream_inference::transport::{Outbound, Publisher, TransportError};
use tokio::time::timeout;
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaResults, KafkaSetupError};

use crate::{cluster, fresh};

/// Longer than the mock takes for anything.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_is_answered_and_a_broker_that_is_away_is_an_error_that_names_it() {
    let cluster = cluster();
    let publisher = KafkaPublisher::connect(&fresh(&cluster).0).await.expect("a producer");
    publisher.probe().await.expect("the topic is there");
    let nowhere =
        KafkaConfig { bootstrap_servers: "127.0.0.1:1".to_owned(), ..KafkaConfig::default() };
    let publisher = KafkaPublisher::connect(&nowhere).await.expect("nothing is asked yet");
    let error = publisher.probe().await.expect_err("nobody is there");
    assert!(matches!(error, KafkaSetupError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("no broker at 127.0.0.1:1 answered"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_come_again_after_an_outage_that_is_said_once() {
    let cluster = cluster();
    let config = fresh(&cluster).0;
    let mut results = KafkaResults::connect(&config).await.expect("connected").expect("a topic");
    let topic = config.results_topic().expect("a topic").to_owned();
    let publisher = KafkaPublisher::connect(&KafkaConfig { topic, ..config.clone() }).await;
    let publisher = publisher.expect("a producer");
    let publish = async |payload: &'static str| {
        let message = Outbound { payload: payload.into(), ..Outbound::default() };
        publisher.publish(message).await.expect("confirmed");
    };
    // The end is looked up in the background: what is published before that is not read.
    let first = async {
        loop {
            publish("1").await;
            if let Ok(first) = timeout(Duration::from_millis(500), results.next()).await {
                return first;
            }
        }
    };
    assert_eq!(timeout(DEADLINE, first).await.expect("in time").expect("a result"), "1");
    cluster.broker_down(1).expect("down");
    let error = timeout(DEADLINE, after_ones(&mut results)).await.expect("in time");
    let error = error.expect_err("away");
    assert!(matches!(error, TransportError::Unavailable { .. }), "{error}");
    cluster.broker_up(1).expect("up");
    publish("2").await;
    let next = timeout(DEADLINE, after_ones(&mut results)).await.expect("in time");
    assert_eq!(next.expect("a result"), "2");
    let none = KafkaConfig { results_topic: None, ..config };
    assert!(KafkaResults::connect(&none).await.expect("nothing to read").is_none());
}

/// The first that is no `1`, of which there may be several.
async fn after_ones(results: &mut KafkaResults) -> Result<Bytes, TransportError> {
    loop {
        match results.next().await {
            Ok(result) if result == "1" => {}
            other => return other,
        }
    }
}
