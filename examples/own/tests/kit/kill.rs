use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use stream_inference::{
    audit::Ledger,
    names,
    transport::{DeadLetter, Outbound, Publisher},
};
use transport_kafka::{KafkaConfig, KafkaPublisher};

use crate::{PARTITIONS, Program, Reader, id};

const MESSAGES: usize = 600;

/// Kills the program in the middle of a stream on librdkafka's in-process Kafka, starts it again, and
/// judges by the audit's ledger that each message was answered and the one that can't be read
/// dead-lettered. Answers the first result, of `message(1)`.
///
/// `name` is what the program gives to its [`Stream`](service::Stream); `message` makes the payload of the
/// message of this number.
pub async fn killed_in_mid_stream(
    path: &str,
    name: &str,
    arguments: &[&str],
    message: impl Fn(usize) -> String,
) -> Outbound {
    // As the program does, so that its dead letters can be read.
    names::set_prefix(name).unwrap();
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let servers = cluster.bootstrap_servers();
    for topic in ["messages", "results", "dead"] {
        cluster.create_topic(topic, PARTITIONS, 1).unwrap();
    }
    let start = || {
        let topics =
            ["--topic", "messages", "--results-topic", "results", "--dead-letter-topic", "dead"];
        // Else the group waits most of a minute for the one that was killed.
        let kafka = ["--kafka", &servers, "--property", "session.timeout.ms=6000"];
        Program::start(path, &[arguments, &topics, &kafka].concat())
    };
    let config = KafkaConfig {
        bootstrap_servers: servers.clone(),
        topic: "messages".to_owned(),
        ..KafkaConfig::default()
    };
    let publisher = KafkaPublisher::connect(&config).await.unwrap();
    let mut ledger = Ledger::default();
    let mut publish = async |n: usize| {
        let payload = if n == 0 { "unreadable".to_owned() } else { message(n) };
        let key = Some(n.to_string().into());
        let message = Outbound { key, payload: payload.into(), ..Outbound::default() };
        ledger.input(&publisher.publish(message).await.unwrap());
    };

    let program = start();
    publish(0).await;
    publish(1).await;
    let first = Reader::new(&servers, "results").next();
    assert_eq!(first.key, Some("1".into()));
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
    let results = Reader::new(&servers, "results");
    while !ledger.account().missing.is_empty() {
        ledger.result(&id(&results.next()));
    }
    let account = ledger.account();
    assert_eq!((account.answered, account.dead_lettered), (MESSAGES - 1, 1));
    assert!(account.is_complete(), "{account:?}");
    #[cfg(unix)]
    {
        program.terminate();
        assert_eq!(program.answer("").code, Some(0));
    }
    first
}
