use super::*;
use crate::{KafkaGuarantee, KafkaOffsetReset};

fn exactly_once(group_instance_id: Option<&str>) -> KafkaConfig {
    KafkaConfig {
        guarantee: KafkaGuarantee::ExactlyOnce,
        group_instance_id: group_instance_id.map(str::to_owned),
        ..KafkaConfig::default()
    }
}

#[test]
fn offsets_are_never_stored_by_the_client_itself() {
    let client = KafkaConfig::default().consumer().expect("a configuration");
    assert_eq!(client.get("enable.auto.offset.store"), Some("false"));
    assert_eq!(client.get("group.id"), Some("consumer-group-1"));
    assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
    assert_eq!(client.get("group.instance.id"), None);
}

#[test]
fn what_the_client_holds_is_bounded_unless_messages_may_be_larger() {
    let mut config = KafkaConfig::default();
    for client in [config.consumer(), config.reader()] {
        let client = client.expect("a configuration");
        assert_eq!(client.get("queued.max.messages.kbytes"), Some("8192"));
        assert_eq!(client.get("fetch.max.bytes"), Some("4194304"));
    }
    let kbytes = |config: &KafkaConfig| {
        let client = config.producer(1000).expect("a configuration");
        client.get("queue.buffering.max.kbytes").map(str::to_owned)
    };
    assert_eq!(kbytes(&config).as_deref(), Some("65536"));
    config.properties.insert("message.max.bytes".to_owned(), "100000000".to_owned());
    assert_eq!(kbytes(&config), None);
}

#[test]
fn properties_pass_through_by_their_own_names() {
    let properties = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanisms", "PLAIN")];
    let config = KafkaConfig {
        properties: properties.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        ..KafkaConfig::default()
    };
    for client in [config.consumer(), config.producer(1000), config.reader()] {
        let client = client.expect("a configuration");
        for (name, value) in properties {
            assert_eq!(client.get(name), Some(value));
        }
    }
}

#[test]
#[cfg(feature = "tls")]
fn the_client_is_built_with_tls_scram_and_plain() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let properties = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", mechanism),
            ("sasl.username", "user"),
            ("sasl.password", "secret"),
        ];
        let config = KafkaConfig {
            properties: properties.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            ..KafkaConfig::default()
        };
        let client = config.producer(1000).expect("a configuration");
        drop(client.create::<rdkafka::producer::FutureProducer>().expect(mechanism));
    }
}

#[test]
fn a_property_under_its_other_name_holds_instead_of_the_value_of_this_library() {
    let mut config = exactly_once(None);
    for (ours, alias) in ALIASES {
        config.properties.insert(alias.to_owned(), "45".to_owned());
        for client in [config.producer(1000), config.transactional_producer()] {
            let client = client.expect("a configuration");
            assert_eq!((client.get(ours), client.get(alias)), (None, Some("45")));
        }
    }
}

#[test]
fn in_transactions_offsets_are_committed_by_the_producer_alone() {
    let consumer = exactly_once(None).consumer().expect("a configuration");
    assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
    assert_eq!(consumer.get("isolation.level"), Some("read_committed"));
    let mut config = exactly_once(None);
    config.properties = [("isolation.level".to_owned(), "read_uncommitted".to_owned())].into();
    assert!(config.consumer().expect_err("refused").to_string().contains("isolation.level"));
}

#[test]
fn a_static_member_keeps_its_transactional_id_and_others_never_share_one() {
    let id = |config: &KafkaConfig| {
        let client = config.transactional_producer().expect("a configuration");
        client.get("transactional.id").expect("an id").to_owned()
    };
    let fixed = exactly_once(Some("consumer-a"));
    assert_eq!([id(&fixed), id(&fixed)], ["consumer-group-1/consumer-a"; 2]);
    let dynamic = exactly_once(None);
    assert_ne!(id(&dynamic), id(&dynamic));
    assert!(id(&dynamic).starts_with("consumer-group-1/"));
}

#[test]
fn a_result_gives_up_before_its_transaction_does() {
    let mut config = exactly_once(None);
    let client = config.transactional_producer().expect("a configuration");
    let millis = |name| client.get(name).and_then(|value| value.parse::<u32>().ok());
    assert!(millis("message.timeout.ms") < millis("transaction.timeout.ms"));
    assert_eq!(client.get("connections.max.idle.ms"), Some("5000"));
    for name in ["transaction.timeout.ms", "connections.max.idle.ms"] {
        config.properties.insert(name.to_owned(), "45000".to_owned());
        let client = config.transactional_producer().expect("a configuration");
        assert_eq!(client.get(name), Some("45000"));
    }
}

#[test]
fn the_new_group_protocol_goes_without_what_the_broker_decides() {
    let with = |name: &str, value: &str| {
        let mut config = KafkaConfig::default();
        config.properties.insert("group.protocol".to_owned(), "consumer".to_owned());
        config.properties.insert(name.to_owned(), value.to_owned());
        config
    };
    let client = with("fetch.wait.max.ms", "50").consumer().expect("a configuration");
    assert_eq!(client.get("group.protocol"), Some("consumer"));
    assert_eq!(client.get("partition.assignment.strategy"), None);
    let native = client.create::<rdkafka::consumer::BaseConsumer>();
    drop(native.expect("librdkafka takes it"));
    let name = "session.timeout.ms";
    let error = with(name, "6000").consumer().expect_err(name).to_string();
    assert!(error.contains(name) && error.contains("group.protocol"), "{error}");
    let group_instance_id = Some("a".to_owned());
    let config = KafkaConfig { group_instance_id, ..with("group.remote.assignor", "uniform") };
    let error = config.consumer().expect_err("static membership").to_string();
    assert!(error.contains("kafka.group_instance_id"), "{error}");
}

#[test]
fn a_partition_without_an_offset_is_read_from_its_start_wherever_the_group_begins() {
    let with = |auto_offset_reset| KafkaConfig { auto_offset_reset, ..KafkaConfig::default() };
    let (earliest, latest) = (KafkaOffsetReset::Earliest, KafkaOffsetReset::Latest);
    for (config, at_the_end) in [(with(earliest), false), (with(latest), true)] {
        let client = config.consumer().expect("a configuration");
        assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(config.begins_at_the_end(), at_the_end);
    }
}
