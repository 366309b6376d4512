//! What can happen to a transaction, as a reader of committed messages sees it.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};
use stream_inference::{
    pipeline::PipelineError,
    transport::{
        Limits, Outbound, Outcome, Rejection, Settlement, Stage, Transport, TransportError,
        conformance::Harness,
    },
};
use tokio::time::{sleep, timeout};
use transport_kafka::KafkaConfig;

use crate::{
    RANGE, assert_ended, consume, consume_no_more, exactly_once,
    harness::{Kafka, read, topics},
    join_and_leave,
    process::Consumer,
    send,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn consumers_that_join_and_leave_double_nothing_in_transactions(servers: &str) {
    assert_eq!(join_and_leave(exactly_once(servers).await).await, 0, "duplicates");
}

/// A consumer that is stopped for longer than its session, and then goes on where it was.
pub(crate) async fn a_zombie_doubles_nothing(servers: &str) {
    // At most 1,024 a second and consumer: more than can be answered while one of them is stopped.
    const MESSAGES: usize = 60_000;
    let config = exactly_once(servers).await;
    let ids = send(&config, MESSAGES, RANGE).await;
    let delay = Duration::from_millis(250);
    let consumers = [Consumer::start(&config, delay), Consumer::start(&config, delay)];
    let [_, results, _] = topics(&config);
    while read(&config, results).await.is_empty() {
        sleep(Duration::from_millis(200)).await;
    }
    for zombie in &consumers {
        zombie.signal("-STOP");
        // The session is over after six seconds. Readers wait for the zombie's open transaction.
        sleep(Duration::from_secs(8)).await;
        zombie.signal("-CONT");
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(assert_ended(&config, &ids).await, 0, "duplicates");
    println!("two zombies: messages {MESSAGES}, missing 0, duplicates 0");
    consumers.into_iter().for_each(Consumer::kill);
}

pub(crate) async fn a_second_process_of_the_same_name_ends_the_first(servers: &str) {
    let mut config = exactly_once(servers).await;
    config.group_instance_id = Some("the-only-one".to_owned());
    let mut ids = send(&config, 100, RANGE).await;
    let (_stop, first) = consume(&config).await;
    assert_ended(&config, &ids).await;
    let second = consume(&config).await;
    ids.extend(send(&config, 100, RANGE).await);
    let error = timeout(PATIENCE, first).await.expect("in time").expect("no panic");
    let error = error.expect_err("fenced");
    let PipelineError::Transport(cause @ TransportError::Fatal { .. }) = &error else {
        panic!("{error}")
    };
    let text = cause.to_string();
    // Whichever the broker fences first, the member or its producer.
    assert!(text.contains("group_instance_id") || text.contains("group.instance.id"), "{text}");
    assert_eq!(assert_ended(&config, &ids).await, 0, "duplicates");
    consume_no_more(second).await;
}

async fn alter(config: &KafkaConfig, topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .create()
        .expect("a client");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let altered = admin.alter_configs([&change], &AdminOptions::new()).await.expect("altered");
    altered.into_iter().for_each(|topic| drop(topic.expect("altered")));
}

pub(crate) async fn a_dead_letter_that_the_broker_finds_too_large_goes_as_a_stub(servers: &str) {
    let kafka = Kafka(exactly_once(servers).await);
    let [_, _, dead_letters] = topics(&kafka.0);
    alter(&kafka.0, dead_letters, "max.message.bytes", "4000").await;
    let message = |payload: Vec<u8>| Outbound { payload: payload.into(), ..Outbound::default() };
    let sent = kafka.send(vec![message(vec![b'x'; 9_000]), message(vec![b'x'; 100])]).await;
    let mut transport = kafka.connect().await;
    let mut settlement = Settlement::default();
    // Once to learn that one of a batch is too large, once to learn which, and perhaps once more each
    // time, because librdkafka counts the sequence numbers of a refused batch, and the broker does not:
    // those transactions are aborted, and their messages held and sent again, not delivered again.
    while settlement.rejected < sent.len() {
        let limits = Limits { max_messages: 9, max_bytes: 1 << 20, max_wait: Duration::ZERO };
        let received = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
        let reject = || Outcome::Reject(Rejection::new(Stage::Decode, "not an image"));
        let batch = received.expect("received").into_iter().map(|d| (d, reject())).collect();
        settlement += transport.settle(batch).await.expect("committed in the end");
    }
    assert_eq!(settlement, Settlement { rejected: 2, ..Settlement::default() });
    let mut letters = kafka.dead_letters().await;
    letters.sort_by_key(|letter| letter.payload.len());
    let found: Vec<_> = letters.iter().map(|l| l.attributes.text("fmnist.id")).collect();
    assert_eq!(found, [Some(&*sent[0]), Some(&*sent[1])]);
    assert_eq!(letters[0].attributes.text("fmnist.payload.bytes"), Some("9000"));
    assert_eq!(letters[1].payload.len(), 100);
}
