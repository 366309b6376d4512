//! TLS and passwords, on the listeners that `scripts/kafka.sh --secure` opens.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use transport_kafka::{KafkaConfig, KafkaGuarantee, KafkaSetupError, KafkaTransport};

use crate::{RANGE, assert_ended, consume, consume_no_more, fresh, send};

const USER: &str = "tester";
const PASSWORD: &str = "tester-secret";
const PATIENCE: Duration = Duration::from_secs(30);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/kafka.sh --secure"))
}

fn certificate(name: &str) -> String {
    let path = PathBuf::from(variable("FMNIST_TEST_KAFKA_FOLDER")).join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// Topics of the test's own, reached at another listener.
async fn secured(servers: &str, listener: &str, properties: &[(&str, &str)]) -> KafkaConfig {
    let mut config = fresh(servers).await;
    config.bootstrap_servers = variable(listener);
    for (name, value) in properties {
        config.properties.insert((*name).to_owned(), (*value).to_owned());
    }
    config
}

async fn with_tls(servers: &str, ca: &str) -> KafkaConfig {
    let properties = [("security.protocol", "SSL"), ("ssl.ca.location", &certificate(ca))];
    secured(servers, "FMNIST_TEST_KAFKA_TLS", &properties).await
}

async fn with_password(servers: &str, mechanism: &str, password: &str) -> KafkaConfig {
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", &*certificate("ca.pem")),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", USER),
        ("sasl.password", password),
    ];
    secured(servers, "FMNIST_TEST_KAFKA_SASL", &properties).await
}

/// Sends, answers in transactions, and reads back over the plain listener.
async fn assert_answers(servers: &str, mut config: KafkaConfig) {
    config.guarantee = KafkaGuarantee::ExactlyOnce;
    let ids = send(&config, 100, RANGE).await;
    let consumer = consume(&config).await;
    let plain = KafkaConfig {
        bootstrap_servers: servers.to_owned(),
        properties: std::collections::BTreeMap::new(),
        ..config
    };
    assert_eq!(assert_ended(&plain, &ids).await, 0, "duplicates");
    consume_no_more(consumer).await;
}

async fn refusal(config: &KafkaConfig) -> KafkaSetupError {
    let begun = Instant::now();
    let connected = timeout(PATIENCE, KafkaTransport::connect(config)).await.expect("in time");
    let Err(error) = connected else { panic!("connected") };
    println!("refused after {} ms: {error}", begun.elapsed().as_millis());
    error
}

pub(crate) async fn messages_are_answered_over_tls(servers: &str) {
    assert_answers(servers, with_tls(servers, "ca.pem").await).await;
}

pub(crate) async fn messages_are_answered_with_a_password(servers: &str) {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        assert_answers(servers, with_password(servers, mechanism, PASSWORD).await).await;
    }
}

pub(crate) async fn a_wrong_password_is_said_within_seconds(servers: &str) {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let error = refusal(&with_password(servers, mechanism, "wrong-secret").await).await;
        assert!(matches!(error, KafkaSetupError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("uthentication") && !text.contains("wrong-secret"), "{text}");
    }
}

pub(crate) async fn a_broker_of_another_authority_is_refused_within_seconds(servers: &str) {
    let error = refusal(&with_tls(servers, "other-ca.pem").await).await;
    assert!(matches!(error, KafkaSetupError::Refused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("certificate") && text.contains("ssl.ca.location"), "{text}");
}

pub(crate) async fn kerberos_is_refused_by_name(servers: &str) {
    let mut config = with_password(servers, "GSSAPI", PASSWORD).await;
    let error = refusal(&config).await.to_string();
    assert!(error.contains("GSSAPI") && error.contains("SCRAM-SHA-512"), "{error}");
    // librdkafka's own default.
    config.properties.remove("sasl.mechanisms");
    let error = refusal(&config).await.to_string();
    assert!(error.contains("GSSAPI"), "{error}");
}
