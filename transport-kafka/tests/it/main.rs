//! Kafka without Kafka: librdkafka's mock cluster, in this process.

mod constant;
mod crashes;
mod faults;
mod groups;
mod harness;
mod holds;
mod limits;
mod observed;
mod poison;

use harness::{Kafka, PARTITIONS, config, topics};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use stream_inference::transport::{
    Capabilities, Guarantee, Outbound, PublishError, Publisher, conformance,
};
use transport_kafka::{KafkaPublisher, KafkaSetupError, KafkaTransport};

const CLAIMS: Capabilities =
    Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true).with_attempts(true);

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    MockCluster::new(1).expect("a mock cluster")
}

fn fresh(cluster: &MockCluster<'static, DefaultProducerContext>) -> Kafka {
    let config = config(&cluster.bootstrap_servers());
    for topic in topics(&config) {
        cluster.create_topic(topic, PARTITIONS, 1).expect("a topic");
    }
    Kafka(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kafka_transport_conforms_on_the_mock_cluster() {
    let cluster = cluster();
    conformance::run(CLAIMS, async || fresh(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_dead_letter_topic_is_an_error_at_start_that_says_how_to_create_it() {
    let cluster = cluster();
    let config = config(&cluster.bootstrap_servers());
    let [input, results, dead_letters] = topics(&config);
    // The mock creates what is asked for; a topic in error stands for one that is missing.
    for topic in [input, results] {
        cluster.create_topic(topic, PARTITIONS, 1).expect("a topic");
    }
    let missing = rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(dead_letters, missing).expect("an error");
    let error = KafkaTransport::connect(&config).await.err().expect("refused");
    assert!(matches!(&error, KafkaSetupError::MissingTopic { topic, .. } if topic == dead_letters));
    assert!(error.to_string().contains("kafka-topics.sh"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_did_not_confirm_is_an_error() {
    let cluster = cluster();
    let mut config = fresh(&cluster).0;
    config.properties = [("message.timeout.ms".to_owned(), "3000".to_owned())].into();
    let publisher = KafkaPublisher::new(&config).expect("a producer");
    let message = Outbound { payload: "x".into(), ..Outbound::default() };
    let id = publisher.publish(message.clone()).await.expect("confirmed");
    assert!(id.starts_with(&config.topic) && id.ends_with("/0"), "{id}");
    cluster.broker_down(1).expect("down");
    let error = publisher.publish(message).await.expect_err("nobody confirms");
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
}
