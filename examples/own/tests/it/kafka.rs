//! A kill in mid-stream, on librdkafka's in-process Kafka; the audit's ledger judges.

use std::fs;

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use stream_inference::{
    audit::Ledger,
    names,
    transport::{DeadLetter, Outbound, Publisher},
};
use transport_kafka::{KafkaConfig, KafkaPublisher};

use crate::{
    program::{COUNTRIES, Program, own_function},
    reader::{PARTITIONS, Reader, id},
};

const MESSAGES: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_stream_and_started_again_it_answers_every_message() {
    // As the program does, so that its dead letters can be read.
    names::set_prefix("payments").unwrap();
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let servers = cluster.bootstrap_servers();
    for topic in ["payments", "scored", "dead"] {
        cluster.create_topic(topic, PARTITIONS, 1).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let start = || -> Program {
        let topics =
            ["--topic", "payments", "--results-topic", "scored", "--dead-letter-topic", "dead"];
        // Else the group waits most of a minute for the one that was killed.
        let session = ["--property", "session.timeout.ms=6000"];
        let countries = ["--countries", countries.to_str().unwrap(), "--kafka", &servers];
        own_function(&[&countries[..], &topics, &session].concat())
    };
    let config = KafkaConfig {
        bootstrap_servers: servers.clone(),
        topic: "payments".to_owned(),
        ..KafkaConfig::default()
    };
    let publisher = KafkaPublisher::new(&config).unwrap();
    let mut ledger = Ledger::default();
    let mut publish = async |n: usize| {
        let payload = match n {
            0 => "unreadable".to_owned(),
            _ => format!("{{\"amount\":{n},\"country\":\"NL\",\"hour\":12}}"),
        };
        let key = Some(n.to_string().into());
        let message = Outbound { key, payload: payload.into(), ..Outbound::default() };
        ledger.input(&publisher.publish(message).await.unwrap());
    };

    let program = start();
    publish(0).await;
    publish(1).await;
    let first = Reader::new(&servers, "scored").next();
    assert_eq!(first.key, Some("1".into()));
    let risk = "{\"amount\":1,\"country\":\"NL\",\"hour\":12,\"risk\":{\"score\":0.1251,\"review\":false}}";
    assert_eq!(first.payload, risk);
    assert_eq!(first.attributes.text("model"), Some("payment-risk 1"));
    for n in 2..MESSAGES / 2 {
        publish(n).await;
    }
    program.kill();
    for n in MESSAGES / 2..MESSAGES {
        publish(n).await;
    }

    let program = start();
    let letter = DeadLetter::read(Reader::new(&servers, "dead").next()).unwrap();
    assert_eq!((&*letter.stage, &*letter.redriven().payload), ("DECODE", &b"unreadable"[..]));
    ledger.dead_letter(&letter.id);
    let scored = Reader::new(&servers, "scored");
    while !ledger.account().missing.is_empty() {
        ledger.result(&id(&scored.next()));
    }
    let account = ledger.account();
    assert_eq!((account.answered, account.dead_lettered), (MESSAGES - 1, 1));
    assert!(account.is_complete(), "{account:?}");
    #[cfg(unix)]
    {
        program.terminate();
        assert_eq!(program.answer("").code, Some(0));
    }
}
