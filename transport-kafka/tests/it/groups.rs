//! Where a group begins, what it comes back to, and what its members keep.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{FutureProducer, FutureRecord},
};
use stream_inference::transport::{
    Limits, Outbound, Outcome, Settlement, Transport, conformance::Harness,
};
use tokio::time::{Instant, timeout};
use transport_kafka::{
    KafkaConfig, KafkaOffsetReset, KafkaSetupError, KafkaTransport, group_lag, topic_spans,
};

use crate::{
    cluster,
    faults::{receive, send_to},
    fresh,
    harness::{Kafka, PARTITIONS},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn at_the_end(mut kafka: Kafka) -> Kafka {
    kafka.0.auto_offset_reset = KafkaOffsetReset::Latest;
    kafka
}

fn message(payload: &'static str) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

/// A client that knows the group.
fn outsider(config: &KafkaConfig) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer")
}

/// Gives the group its place on a partition, and on no other.
async fn commit(config: &KafkaConfig, partition: i32, offset: i64) {
    let config = config.clone();
    let commit = move || {
        let mut place = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        place.add_partition_offset(&config.topic, partition, offset).expect("a place");
        outsider(&config).commit(&place, CommitMode::Sync).expect("committed");
    };
    tokio::task::spawn_blocking(commit).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_latest_what_a_consumer_had_received_and_not_settled_comes_to_the_next() {
    let cluster = cluster();
    let kafka = at_the_end(fresh(&cluster));
    kafka.send(vec![message("before the group"); 3]).await;
    let mut first = kafka.connect().await;
    let sent = kafka.send(vec![message("received and lost")]).await;
    let delivery = receive(&mut first, 1).await.remove(0);
    assert_eq!(delivery.id, sent[0]);
    drop(first);
    // While nobody is there.
    let later = kafka.send(vec![message("between")]).await;
    let received = receive(&mut kafka.connect().await, 2).await;
    let mut ids: Vec<_> = received.iter().map(|delivery| &delivery.id).collect();
    let mut expected = [&sent[0], &later[0]];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_latest_a_partition_that_the_group_has_no_place_on_is_read_from_its_start() {
    let cluster = cluster();
    let kafka = at_the_end(fresh(&cluster));
    for payload in ["old", "new"] {
        send_to(&kafka.0, 0, payload).await;
    }
    commit(&kafka.0, 0, 1).await;
    // As on a partition that was added to a running topic.
    for payload in ["first", "second"] {
        send_to(&kafka.0, 1, payload).await;
    }
    let received = receive(&mut kafka.connect().await, 3).await;
    let mut payloads: Vec<_> = received.iter().map(|delivery| delivery.payload.clone()).collect();
    payloads.sort();
    assert_eq!(payloads, ["first", "new", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_latest_a_place_that_is_no_more_takes_the_group_to_the_oldest_message() {
    let cluster = cluster();
    let kafka = at_the_end(fresh(&cluster));
    for payload in ["a", "b"] {
        send_to(&kafka.0, 0, payload).await;
    }
    commit(&kafka.0, 0, 100).await;
    let received = receive(&mut kafka.connect().await, 2).await;
    let payloads: Vec<_> = received.iter().map(|delivery| delivery.payload.clone()).collect();
    assert_eq!(payloads, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_latest_a_group_whose_members_have_committed_nothing_is_refused() {
    let cluster = cluster();
    let kafka = at_the_end(fresh(&cluster));
    let config = kafka.0.clone();
    let join = move || {
        let member = outsider(&config);
        member.subscribe(&[&config.topic]).expect("subscribed");
        let deadline = std::time::Instant::now() + PATIENCE;
        while member.assignment().expect("an assignment").count() == 0 {
            assert!(std::time::Instant::now() < deadline, "the other member did not join");
            member.poll(Duration::from_millis(50));
        }
        member
    };
    let member = tokio::task::spawn_blocking(join).await.expect("no panic");
    let refused = KafkaTransport::connect(&kafka.0).await.err().expect("refused");
    assert!(matches!(&refused, KafkaSetupError::NoPlace { group } if *group == kafka.0.group_id));
    assert!(refused.to_string().contains("stop them"), "{refused}");
    tokio::task::spawn_blocking(move || drop(member)).await.expect("no panic");
}

/// Fills one partition with more than a consumer buffers.
async fn fill(config: &KafkaConfig, partition: i32) {
    const MESSAGES: usize = 12_000;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .create()
        .expect("a producer");
    let mut reports = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let record = FutureRecord::<(), _>::to(&config.topic).partition(partition).payload("x");
        reports.push(producer.send_result(record).map_err(|(error, _)| error).expect("queued"));
    }
    for report in reports {
        report.await.expect("reported").expect("confirmed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_a_member_keeps_are_read_on_when_its_full_buffer_leaves_with_another() {
    let cluster = cluster();
    // Which partitions go to the second member is the assignor's choice: one of them is full. On a busy
    // machine that takes longer than anybody waits here, and so each has a second turn.
    for full in (0..PARTITIONS).rev().cycle().take(2 * PARTITIONS as usize) {
        let kafka = fresh(&cluster);
        fill(&kafka.0, full).await;
        let mut first = kafka.connect().await;
        // No mark tells of so many messages at once.
        first.forget_crashes();
        let one = Limits { max_messages: 1, max_bytes: 1 << 20, max_wait: Duration::ZERO };
        // Enough means that the buffer is at its bound, or holds all that is asked for.
        let all = Limits { max_messages: 11_000, max_wait: PATIENCE, ..one };
        let held = timeout(PATIENCE, first.recv(all)).await.expect("in time").expect("received");
        assert!(held.len() > 10_000, "{} messages", held.len());
        fill(&kafka.0, full).await;
        let mut second = kafka.connect().await;
        let moved = timeout(Duration::from_secs(15), second.recv(one)).await;
        let Ok(moved) = moved else { continue };
        assert_eq!(moved.expect("received")[0].source.partition, Some(full));
        for kept in 0..PARTITIONS {
            send_to(&kafka.0, kept, "kept").await;
        }
        let received = timeout(PATIENCE, first.recv(one)).await.expect("what it keeps is read");
        assert_ne!(received.expect("received")[0].source.partition, Some(full));
        let settled = first.settle(held.into_iter().map(|d| (d, Outcome::Recorded)).collect());
        assert!(settled.await.expect("settled").stale > 10_000);
        return;
    }
    panic!("no partition moved to the second member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_comes_to_an_end_where_no_message_stands_behind_the_last_one_and_none_at_all() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for payload in ["a", "b", "c"] {
        send_to(&kafka.0, 0, payload).await;
        send_to(&kafka.0, 1, payload).await;
    }
    let config = kafka.0.clone();
    let spans = tokio::task::spawn_blocking(move || {
        topic_spans(&config, transport_kafka::KafkaStart::Beginning)
    });
    let spans = spans.await.expect("no panic").expect("spans");
    let mut ends: Vec<_> = spans.iter().map(|span| (span.partition, span.end)).collect();
    ends.sort();
    assert_eq!(ends, [(0, 3), (1, 3), (2, 0), (3, 0)]);
    // Behind the end: never received.
    send_to(&kafka.0, 0, "behind").await;
    let mut transport =
        KafkaTransport::connect_until(&kafka.0, Some(&spans)).await.expect("connected");
    // One is delivered twice: that it came once is not that it is done.
    let again = receive(&mut transport, 6).await;
    drop(again);
    let deliveries = receive(&mut transport, 6).await;
    assert!(deliveries.iter().all(|delivery| delivery.payload != "behind"));
    let recorded = deliveries.into_iter().map(|d| (d, Outcome::Recorded)).collect();
    let settled = transport.settle(recorded).await.expect("settled");
    assert_eq!(settled, Settlement { recorded: 6, ..Settlement::default() });
    let places = |kafka: &Kafka| {
        let config = kafka.0.clone();
        tokio::task::spawn_blocking(move || {
            let mut all = TopicPartitionList::new();
            all.add_partition_range(&config.topic, 0, PARTITIONS - 1);
            let places = outsider(&config).committed_offsets(all, PATIENCE).expect("places");
            let mut places: Vec<_> =
                places.elements().iter().map(|place| (place.partition(), place.offset())).collect();
            places.sort_by_key(|(partition, _)| *partition);
            places
        })
    };
    let expected: Vec<_> = ends.iter().map(|&(p, end)| (p, Offset::Offset(end))).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = places(&kafka).await.expect("no panic");
        if found == expected {
            break;
        }
        assert!(Instant::now() < deadline, "the group stands at {found:?}");
    }
    let config = kafka.0.clone();
    let lag = tokio::task::spawn_blocking(move || group_lag(&config, &spans));
    assert_eq!(lag.await.expect("no panic").expect("a lag"), 0);
}
