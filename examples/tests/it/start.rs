//! What the programs say before they begin, and how they end.

use std::process::{Command, Output};

use pubsub_fake::FakePubSub;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    bindings::rd_kafka_resp_err_t,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use serde_json::Value;
use test_kit::{Program, example, get};

use crate::processes::{cluster, send};

const SECRET: &str = "open-sesame";

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn by(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The lines that name something missing.
    fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect()
    }
}

#[test]
fn the_configuration_is_printed_with_its_origins_and_no_broker_is_touched() {
    for name in ["demo", "kafka_consumer", "pubsub_consumer"] {
        let said = Said::by(
            example(name)
                .arg("--print-config")
                // Nobody listens there: who asks fails.
                .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
                .env("FMNIST_KAFKA__PROPERTIES__SASL_PASSWORD", SECRET)
                .env("PORT", "8123"),
        );
        assert_eq!(said.code, Some(0), "{name}: {}", said.stderr);
        let printed: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(printed["kafka"]["bootstrap_servers"], "127.0.0.1:1");
        assert_eq!(printed["server"]["port"], 8123);
        for line in [
            "kafka.bootstrap_servers = \"127.0.0.1:1\"  # FMNIST_KAFKA__BOOTSTRAP_SERVERS",
            "server.port = 8123  # PORT",
            "batch.max_images = 256  # default",
        ] {
            assert!(said.stderr.lines().any(|found| found == line), "{name}: {}", said.stderr);
        }
        assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "{name}");
    }
}

#[test]
fn help_shows_examples() {
    // `classify` and `audit` have tests of their own and are built as those.
    for name in ["demo", "kafka_consumer", "pubsub_consumer", "redrive", "stdio"] {
        let said = Said::by(example(name).arg("--help"));
        assert_eq!(said.code, Some(0), "{name}");
        let examples = said.stdout.split("Examples:\n").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("--example {name}")), "{name}: {}", said.stdout);
    }
}

#[test]
fn all_that_is_missing_is_said_at_once_with_the_commands_that_make_it() {
    let cluster = cluster();
    // The mock creates what is asked for; a topic in error stands for one that is missing.
    let missing = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for topic in ["INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"] {
        cluster.topic_error(topic, missing).unwrap();
    }
    let servers = cluster.bootstrap_servers();
    for arguments in [&["--check"][..], &[]] {
        let said = Said::by(
            example("kafka_consumer")
                .args(arguments)
                .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers)
                .env("FMNIST_MODEL__MODEL_NAME", "no-such-model")
                .env("FMNIST_DATA", "/no/such/folder"),
        );
        assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{}", said.stderr);
        let errors = said.errors();
        assert_eq!(errors.len(), 4, "{errors:#?}");
        assert!(errors[0].contains("/no/such/folder"), "{}", errors[0]);
        assert!(errors[1].contains("no-such-model") && errors[1].contains("base"), "{}", errors[1]);
        for (error, topic) in errors[2..].iter().zip(["RESULTS", "DEAD-LETTERS"]) {
            let command = format!(
                "kafka-topics.sh --bootstrap-server {servers} --create --topic INFERENCE-{topic}"
            );
            assert!(error.contains(&command), "{error}");
        }
    }
}

#[test]
fn a_check_says_what_is_there_and_ends() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let said = Said::by(
        example("kafka_consumer").arg("--check").env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers),
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let topics = "topics INFERENCE, INFERENCE-RESULTS, INFERENCE-DEAD-LETTERS";
    for found in ["1000 images are drawn", "model base on fused", topics] {
        assert!(said.stdout.contains(found), "{}", said.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_on_pubsub_is_listed_and_then_made_as_asked_for() {
    let server = FakePubSub::start().await.unwrap();
    let endpoint = format!("http://{}", server.address());
    let host = endpoint.strip_prefix("http://").unwrap().to_owned();
    let consumer = |arguments: &[&str]| {
        let mut command = example("pubsub_consumer");
        command.args(arguments).env("PUBSUB_EMULATOR_HOST", &host);
        command.env("PUBSUB_PROJECT_ID", "demo");
        tokio::task::block_in_place(|| Said::by(&mut command))
    };
    let said = consumer(&["--check"]);
    assert_eq!(said.code, Some(1));
    let errors = said.errors();
    let resources = [
        "topics/MODEL-INFERENCE does not exist",
        "subscriptions/vectorai-subscription does not exist",
        "topics/MODEL-INFERENCE-RESULTS does not exist",
        "topics/MODEL-INFERENCE-DEAD-LETTERS does not exist",
        "topics/MODEL-INFERENCE-DEAD-LETTERS has no subscription",
    ];
    assert_eq!(errors.len(), resources.len(), "{errors:#?}");
    for (error, resource) in errors.iter().zip(resources) {
        assert!(error.starts_with(&format!("projects/demo/{resource}")), "{error}");
        assert!(error.contains(&format!("create it: curl -X PUT {endpoint}/v1/")), "{error}");
    }

    let said = consumer(&["--check", "--create", "--ack-deadline", "77"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("subscription vectorai-subscription"), "{}", said.stdout);
    let path = "/v1/projects/demo/subscriptions/vectorai-subscription";
    let (_, subscription) = tokio::task::block_in_place(|| get(&host, path));
    let subscription: Value = serde_json::from_str(&subscription).unwrap();
    assert_eq!(subscription["ackDeadlineSeconds"], 77);
    assert_eq!(subscription["enableMessageOrdering"], true);
    assert_eq!(consumer(&["--check"]).code, Some(0));
}

/// The ids on the results topic, in order.
pub(crate) fn answered(servers: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset("INFERENCE-RESULTS", 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut ids = Vec::new();
    for message in consumer.iter() {
        match message {
            Ok(message) => {
                let result: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
                ids.push(result["id"].as_str().unwrap().to_owned());
            }
            Err(KafkaError::PartitionEOF(_)) => break,
            Err(_) => {}
        }
    }
    ids
}

#[test]
fn sigterm_with_slow_messages_in_flight_settles_what_it_answers_and_exits_with_0() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    const MESSAGES: usize = 9;
    send(&servers, &[r#"{"start_idx": 0, "end_idx": 1000}"#; MESSAGES]);
    let start = || {
        Program::start(
            example("kafka_consumer")
                .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers)
                // So small beside a message that the first answer comes while the others are worked
                // on.
                .env("FMNIST_BATCH__MAX_IMAGES", "64"),
        )
    };
    let mut first = start();
    first.printed();
    assert_eq!(first.end("-TERM"), Some(0));
    let settled = answered(&servers);
    assert!(!settled.is_empty());

    // What was answered was also acknowledged: the next one answers the rest, and nothing twice.
    send(&servers, &[r#"{"start_idx": 0, "end_idx": 1}"#]);
    let mut second = start();
    while !second.printed().contains("[0 - 1]") {}
    assert_eq!(second.end("-TERM"), Some(0));
    let mut ids = answered(&servers);
    ids.sort();
    let expected: Vec<String> = (0..=MESSAGES).map(|n| format!("INFERENCE/0/{n}")).collect();
    assert_eq!(ids, expected);
}
