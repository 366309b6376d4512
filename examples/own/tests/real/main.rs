//! own_function on a real Kafka, whose address `scripts/kafka.sh` puts into `FMNIST_TEST_KAFKA`.
#![cfg(unix)]

use std::{collections::BTreeSet, env, fs, process};

use jiff::{SignedDuration, Timestamp};
use own_models::{PARTITIONS, Program, Reader, id};
use stream_inference::{
    audit::Ledger,
    transport::{Outbound, Publisher},
};
use transport_kafka::{KafkaConfig, KafkaPublisher, create_missing};

const OWN_FUNCTION: &str = env!("CARGO_BIN_EXE_own_function");
const COUNTRIES: &str = "{\"BR\": 0.25, \"NL\": 0.125}";
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
    create_missing(&config, PARTITIONS).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let start = |member: &str| -> Program {
        let topics = ["--topic", &messages, "--results-topic", &results];
        let others = ["--dead-letter-topic", &dead_letters, "--group", &messages];
        let member = ["--member", member, "--property", "session.timeout.ms=6000"];
        let countries = ["--countries", countries.to_str().unwrap(), "--exactly-once"];
        let kafka = ["--kafka", &servers];
        Program::start(OWN_FUNCTION, &[&kafka[..], &topics, &others, &member, &countries].concat())
    };
    let publisher = KafkaPublisher::connect(&config).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_topics_are_made_audited_redriven_and_read_again() {
    let servers = env::var("FMNIST_TEST_KAFKA").expect("FMNIST_TEST_KAFKA, see scripts/kafka.sh");
    let topic = |kind: &str| format!("own-again-{}-{kind}", process::id());
    let (messages, results, dead_letters) = (topic("messages"), topic("results"), topic("dead"));
    let reviews = topic("reviews");
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let start = |arguments: &[&str]| -> Program {
        let countries = ["--countries", countries.to_str().unwrap(), "--only-review"];
        let countries = [&countries[..], &["--review-topic", &reviews]].concat();
        let kafka = ["--kafka", &servers, "--group", &messages, "--topic", &messages];
        let topics = ["--results-topic", &*results, "--dead-letter-topic", &dead_letters];
        Program::start(OWN_FUNCTION, &[&countries[..], &kafka, &topics, arguments].concat())
    };
    let missing = start(&["--check"]).answer("");
    assert_eq!(missing.code, Some(1));
    for topic in [&messages, &reviews] {
        assert!(missing.stderr.contains(topic), "{}", missing.stderr);
    }
    let made = start(&["--create", "--check"]).answer("");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.starts_with("model payment-risk 1\n"), "{}", made.stdout);

    let from = Timestamp::now();
    let config = KafkaConfig {
        bootstrap_servers: servers.clone(),
        topic: messages.clone(),
        ..KafkaConfig::default()
    };
    let publisher = KafkaPublisher::connect(&config).await.unwrap();
    // Every other one is to be looked at; the last can't be read.
    for n in 0..=20 {
        let payload = match n {
            20 => "unreadable".to_owned(),
            _ => format!("{{\"amount\":{},\"country\":\"NL\",\"hour\":12}}", 9_000 * (n % 2)),
        };
        publisher
            .publish(Outbound { payload: payload.into(), ..Outbound::default() })
            .await
            .unwrap();
    }
    let answered = start(&["--until-end"]).answer("");
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    assert_eq!(Reader::new(&servers, &reviews).all().len(), 10);

    let to = (Timestamp::now() + SignedDuration::from_secs(1)).to_string();
    let from = from.to_string();
    let audit = |more: &[&str]| {
        let window = ["audit", "--from", &from, "--to", &to];
        start(&[&window[..], more].concat()).answer("")
    };
    let found = audit(&[]);
    assert_eq!(found.code, Some(3), "{}", found.stderr);
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(lines[0], "21 messages: 10 answered, 1 dead-lettered");
    assert!(lines[1].starts_with("filtered or lost: 10: "), "{lines:?}");
    let found = audit(&["--replay"]);
    let expected = "21 messages: 10 answered, 1 dead-lettered, 10 filtered\nexactly one end each\n";
    assert_eq!((found.code, &*found.stdout), (Some(0), expected), "{}", found.stderr);

    assert_eq!(Reader::new(&servers, &results).all(), []);
    let listed = start(&["redrive", "--dry-run"]).answer("");
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stdout.contains(" DECODE redrives 0: "), "{}", listed.stdout);
    let sent = start(&["redrive"]).answer("");
    assert!(sent.stderr.contains("1 sent; left: 0 not chosen"), "{}", sent.stderr);
    let again = start(&["--from", "beginning", "--until-end"]).answer("");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(Reader::new(&servers, &reviews).all().len(), 20);
    let found = audit(&["--replay"]);
    assert_eq!(found.code, Some(3), "{}", found.stderr);
    assert!(found.stdout.contains("doubled: 11: "), "{}", found.stdout);
}
