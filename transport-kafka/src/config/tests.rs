use super::{
    check::{OWNED, RESERVED},
    *,
};
use crate::KafkaSetupError;

#[test]
#[cfg(not(feature = "tls"))]
fn what_needs_tls_is_refused_by_name_where_tls_is_not_built_in() {
    for (name, value) in [
        ("security.protocol", "SSL"),
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("ssl.ca.location", "ca.pem"),
    ] {
        let mechanism = ("sasl.mechanisms".to_owned(), "PLAIN".to_owned());
        let properties = [mechanism, (name.to_owned(), value.to_owned())].into();
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        for client in [config.consumer(), config.producer(1000), config.reader()] {
            let error = client.expect_err("refused").to_string();
            assert!(error.contains(name) && error.contains("--features kafka-tls"), "{error}");
        }
        config.check().expect("whoever only looks at a configuration needs no client");
    }
}

#[test]
fn a_property_that_would_break_the_delivery_promise_is_refused() {
    for name in RESERVED {
        let properties = [(name.to_owned(), "true".to_owned())].into();
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        for client in [config.consumer(), config.producer(1000), config.reader()] {
            let error = client.expect_err("refused").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

#[test]
fn a_property_that_has_a_key_of_its_own_is_refused_with_that_key() {
    for (name, key) in OWNED {
        let properties = [(name.to_owned(), "other".to_owned())].into();
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        for client in [config.consumer(), config.producer(1000), config.reader()] {
            let error = client.expect_err("refused").to_string();
            assert!(error.contains(name) && error.contains(&format!("use {key}")), "{error}");
        }
    }
}

#[test]
fn a_property_that_librdkafka_does_not_know_is_named_without_its_value() {
    let properties = [("sasl.pasword".to_owned(), "open-sesame".to_owned())].into();
    let config = KafkaConfig { properties, ..KafkaConfig::default() };
    let error = config.check().expect_err("refused").to_string();
    assert!(error.contains("sasl.pasword") && !error.contains("open-sesame"), "{error}");
}

#[test]
fn a_source_that_is_an_output_is_refused_with_the_key() {
    let source = |topic: &str| KafkaConfig { topic: topic.to_owned(), ..KafkaConfig::default() };
    source("INFERENCE").check_source().expect("a topic of its own");
    for (topic, key) in [
        ("INFERENCE-RESULTS", "kafka.results_topic"),
        ("INFERENCE-DEAD-LETTERS", "kafka.dead_letter_topic"),
    ] {
        let error = source(topic).check_source().expect_err("refused").to_string();
        assert!(error.contains(key) && error.contains("for ever"), "{error}");
    }
    let none = KafkaConfig { results_topic: None, ..source("INFERENCE-RESULTS") };
    none.check_source().expect("nothing is written there");
}

#[test]
fn names_that_kafka_does_not_take_are_refused_with_their_key() {
    let long = "t".repeat(250);
    let refused = |config: KafkaConfig| config.check().expect_err("refused").to_string();
    for topic in ["", "^IN", "a b", "a/b", &long] {
        let error = refused(KafkaConfig { topic: topic.to_owned(), ..KafkaConfig::default() });
        let rule = "kafka.topic has to be 1 to 249 letters, digits, dots, _ and -";
        assert_eq!(error, format!("{rule}, found {topic:?}"));
    }
    let bootstrap_servers = " ".to_owned();
    let error = refused(KafkaConfig { bootstrap_servers, ..KafkaConfig::default() });
    assert!(error.starts_with("kafka.bootstrap_servers has to be HOST:PORT"), "{error}");
    KafkaConfig { topic: long[1..].to_owned(), ..KafkaConfig::default() }.check().expect("a name");
}

#[test]
fn a_route_is_a_topic_of_its_own_and_is_there_with_the_others() {
    let with = |routes: &[&str]| KafkaConfig {
        routes: routes.iter().map(|route| (*route).to_owned()).collect(),
        ..KafkaConfig::default()
    };
    let config = with(&["REVIEWS", "ALERTS"]);
    config.check_source().expect("topics of their own");
    let topics: Vec<_> = config.topics().collect();
    let others = ["INFERENCE", "INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"];
    assert_eq!(topics, [&others[..], &["REVIEWS", "ALERTS"]].concat());
    for (routes, problem) in [
        (["A", "INFERENCE"], "kafka.topic is INFERENCE, as kafka.routes is"),
        (
            ["A", "INFERENCE-RESULTS"],
            "kafka.routes: \"INFERENCE-RESULTS\" is kafka.results_topic already",
        ),
        (["INFERENCE-DEAD-LETTERS", "A"], "is kafka.dead_letter_topic already"),
        (["A", "A"], "\"A\" stands there twice; remove it"),
        (["A", ""], "kafka.routes has to be 1 to 249 letters, digits, dots, _ and -, found \"\""),
    ] {
        let error = with(&routes).check_source().expect_err("refused").to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_new_group_protocol_is_refused_in_transactions_with_what_to_use_instead() {
    let mut config =
        KafkaConfig { guarantee: KafkaGuarantee::ExactlyOnce, ..KafkaConfig::default() };
    config.properties = [("group.protocol".to_owned(), "Consumer".to_owned())].into();
    let error = config.check().expect_err("refused").to_string();
    for part in ["exactly_once", "group.protocol = consumer", "classic", "at_least_once"] {
        assert!(error.contains(part), "{error}");
    }
    config.guarantee = KafkaGuarantee::AtLeastOnce;
    config.check().expect("at least once, offsets follow the epoch");
    config.guarantee = KafkaGuarantee::ExactlyOnce;
    config.properties = [("group.protocol".to_owned(), "classic".to_owned())].into();
    config.check().expect("the classic protocol");
}

#[test]
fn kerberos_is_refused_also_where_it_is_only_the_default() {
    let with = |properties: &[(&str, &str)]| KafkaConfig {
        properties: properties.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        ..KafkaConfig::default()
    };
    let protocol = ("security.protocol", "sasl_ssl");
    for config in [with(&[protocol]), with(&[protocol, ("sasl.mechanism", "GSSAPI")])] {
        let error = config.producer(1000).expect_err("refused").to_string();
        assert!(error.contains("GSSAPI") && error.contains("SCRAM-SHA-512"), "{error}");
    }
    for built_in in
        [with(&[("security.protocol", "SSL")]), with(&[protocol, ("sasl.mechanism", "PLAIN")])]
    {
        let asks = built_in.producer(1000);
        assert!(!matches!(asks, Err(KafkaSetupError::Kerberos)), "{asks:?}");
    }
}

#[test]
fn the_old_section_is_read_and_an_unknown_guarantee_is_refused() {
    let old = r#"{"bootstrap_servers": "b:9092", "group_id": "g", "topic": "T"}"#;
    let config: KafkaConfig = serde_json::from_str(old).expect("the old keys");
    assert_eq!((config.group_id.as_str(), config.topic.as_str()), ("g", "T"));
    assert_eq!(config.results_topic.as_deref(), Some("INFERENCE-RESULTS"));
    let error = serde_json::from_str::<KafkaConfig>(r#"{"guarantee": "at_most_once"}"#);
    let error = error.expect_err("not offered").to_string();
    assert!(error.contains("at_least_once") && error.contains("exactly_once"), "{error}");
    let empty: KafkaConfig =
        serde_json::from_str(r#"{"results_topic": ""}"#).expect("an empty name");
    assert_eq!(empty.results_topic(), None);
    let default = serde_json::to_value(KafkaConfig::default()).expect("JSON");
    assert_eq!(default["guarantee"], "at_least_once");
}
