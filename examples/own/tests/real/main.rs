//! own_function on a real Kafka, whose address `scripts/kafka.sh` puts into `FMNIST_TEST_KAFKA`.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "../it/program.rs"]
#[expect(dead_code, reason = "each suite uses its part")]
mod program;
#[path = "../it/reader.rs"]
mod reader;

use std::{collections::BTreeSet, env, fs, process};

use program::{COUNTRIES, Program, own_function};
use reader::{PARTITIONS, Reader, id};
use stream_inference::{
    audit::Ledger,
    transport::{Outbound, Publisher},
};
use transport_kafka::{KafkaConfig, KafkaPublisher, create_topics};

const MESSAGES: usize = 900;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_answer_exactly_once_though_one_is_killed_and_comes_back() {
    let servers = env::var("FMNIST_TEST_KAFKA").expect("FMNIST_TEST_KAFKA, see scripts/kafka.sh");
    let topic = |kind: &str| format!("own-{}-{kind}", process::id());
    let (messages, results, dead_letters) = (topic("messages"), topic("results"), topic("dead"));
    let config = KafkaConfig {
        bootstrap_servers: servers.clone(),
        topic: messages.clone(),
        results_topic: Some(results.clone()),
        dead_letter_topic: dead_letters.clone(),
        ..KafkaConfig::default()
    };
    create_topics(&config, PARTITIONS).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let start = |member: &str| -> Program {
        let topics = ["--topic", &messages, "--results-topic", &results];
        let others = ["--dead-letter-topic", &dead_letters, "--group", &messages];
        let member = ["--member", member, "--property", "session.timeout.ms=6000"];
        let countries = ["--countries", countries.to_str().unwrap(), "--exactly-once"];
        let kafka = ["--kafka", &servers];
        own_function(&[&kafka[..], &topics, &others, &member, &countries].concat())
    };
    let publisher = KafkaPublisher::new(&config).unwrap();
    let mut ledger = Ledger::default();
    let mut publish = async |n: usize| {
        let payload = format!("{{\"amount\":{n},\"country\":\"NL\",\"hour\":12}}").into();
        let key = Some(n.to_string().into());
        let message = Outbound { key, payload, ..Outbound::default() };
        ledger.input(&publisher.publish(message).await.unwrap());
    };

    let (first, second, third) = (start("1"), start("2"), start("3"));
    publish(0).await;
    let answered = Reader::new(&servers, &results);
    let mut ids = BTreeSet::from([id(&answered.next())]);
    for n in 1..MESSAGES / 2 {
        publish(n).await;
    }
    second.kill();
    let second = start("2");
    for n in MESSAGES / 2..MESSAGES {
        publish(n).await;
    }
    while ids.len() < MESSAGES {
        ids.insert(id(&answered.next()));
    }
    for program in [first, second, third] {
        program.terminate();
        assert_eq!(program.answer("").code, Some(0));
    }
    for result in Reader::new(&servers, &results).all() {
        ledger.result(&id(&result));
    }
    let account = ledger.account();
    assert!(account.is_exact(), "{account:?}");
    assert_eq!(account.answered, MESSAGES);
    assert_eq!(Reader::new(&servers, &dead_letters).all(), []);
}
