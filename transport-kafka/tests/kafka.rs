//! Kafka without Kafka: librdkafka's mock cluster, in this process.

mod it {
    mod crashes;
    pub(crate) mod faults;
    mod groups;
    mod holds;
    mod limits;
    pub(crate) mod observed;
    mod page;
    pub(crate) mod poison;
}
mod support {
    pub(crate) mod constant;
    pub(crate) mod harness;
}

use it::{
    faults::{self, receive},
    observed, poison,
};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use stream_inference::transport::{
    Capabilities, Guarantee, Outbound, Outcome, PublishError, Publisher, Transport, TransportError,
    conformance::{self, Harness},
};
use support::{
    constant,
    harness::{self, Kafka, PARTITIONS, config},
};
use transport_kafka::{KafkaPublisher, KafkaSetupError, KafkaTransport};

const CLAIMS: Capabilities =
    Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true).with_attempts(true);

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    MockCluster::new(1).expect("a mock cluster")
}

fn fresh(cluster: &MockCluster<'static, DefaultProducerContext>) -> Kafka {
    let config = config(&cluster.bootstrap_servers());
    for topic in config.topics() {
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
async fn a_missing_topic_of_dead_letters_or_route_is_an_error_at_start_that_says_how_to_create_it()
{
    let cluster = cluster();
    for nth in [2, 3] {
        let config = config(&cluster.bootstrap_servers());
        let mut topics: Vec<_> = config.topics().collect();
        let absent = topics.remove(nth);
        // The mock creates what is asked for; a topic in error stands for one that is missing.
        for topic in topics {
            cluster.create_topic(topic, PARTITIONS, 1).expect("a topic");
        }
        let code = rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        cluster.topic_error(absent, code).expect("an error");
        let error = KafkaTransport::connect(&config).await.err().expect("refused");
        assert!(matches!(&error, KafkaSetupError::MissingTopic { topic, .. } if topic == absent));
        let command = format!("--create --topic {absent} ");
        assert!(error.to_string().contains(&command), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_to_a_topic_that_is_no_route_stops_the_transport_and_goes_nowhere() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let message = Outbound { payload: "x".into(), ..Outbound::default() };
    let sent = kafka.send(vec![message.clone()]).await;
    let mut transport = kafka.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    // The mock, as some brokers, would make a topic of it.
    let elsewhere = Outbound { topic: Some("elsewhere".into()), ..message };
    let settled = transport.settle(vec![(delivery, Outcome::Publish(vec![elsewhere]))]).await;
    let error = settled.expect_err("refused");
    assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
    drop(transport);
    assert_eq!(receive(&mut kafka.connect().await, 1).await[0].id, sent[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_did_not_confirm_is_an_error() {
    let cluster = cluster();
    let mut config = fresh(&cluster).0;
    config.properties = [("message.timeout.ms".to_owned(), "3000".to_owned())].into();
    let publisher = KafkaPublisher::connect(&config).await.expect("a producer");
    let message = Outbound { payload: "x".into(), ..Outbound::default() };
    let id = publisher.publish(message.clone()).await.expect("confirmed");
    assert!(id.starts_with(&config.topic) && id.ends_with("/0"), "{id}");
    cluster.broker_down(1).expect("down");
    let error = publisher.publish(message).await.expect_err("nobody confirms");
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
}
