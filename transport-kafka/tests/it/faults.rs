//! What the old consumer got wrong, and what a broker can do to this one.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    bindings::rd_kafka_resp_err_t,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaApiKey,
};
use stream_inference::{
    pipeline::{Pipeline, PipelineConfig},
    transport::{
        Delivery, Limits, Outbound, Outcome, Publisher, Rejection, Settlement, Stage, Transport,
        TransportError, conformance::Harness,
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaToken, KafkaTransport};

use crate::{
    cluster,
    constant::{constant, ranges},
    fresh,
    harness::{PARTITIONS, topics},
    poison::narrow,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn message(payload: impl Into<Bytes>) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

pub(crate) async fn receive(
    transport: &mut KafkaTransport,
    count: usize,
) -> Vec<Delivery<KafkaToken>> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let limits = Limits {
            max_messages: count - deliveries.len(),
            max_bytes: 1 << 20,
            max_wait: Duration::ZERO,
        };
        let received = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
        deliveries.extend(received.expect("received"));
    }
    deliveries
}

/// The committed offset of each partition of the input topic; `None` where there is none.
pub(crate) async fn committed(config: &KafkaConfig) -> Vec<Option<i64>> {
    let config = config.clone();
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("group.id", &config.group_id)
            .create()
            .expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&config.topic, 0, PARTITIONS - 1);
        let offsets = consumer.committed_offsets(partitions, PATIENCE).expect("offsets");
        let offset = |partition| match offsets.find_partition(&config.topic, partition) {
            Some(found) => match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            },
            None => None,
        };
        (0..PARTITIONS).map(offset).collect()
    };
    tokio::task::spawn_blocking(ask).await.expect("no panic")
}

/// Sends one message to a partition of the input topic.
pub(crate) async fn send_to(
    config: &KafkaConfig,
    partition: i32,
    payload: &(impl AsRef<[u8]> + ?Sized),
) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .create()
        .expect("a producer");
    let payload = payload.as_ref();
    let record = FutureRecord::<(), _>::to(&config.topic).partition(partition).payload(payload);
    producer.send(record, PATIENCE).await.expect("confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_offsets_are_committed_only_after_the_result_is_confirmed() {
    let cluster = cluster();
    let mut kafka = fresh(&cluster);
    kafka.0.properties.insert("auto.commit.interval.ms".to_owned(), "50".to_owned());
    let [_, results, _] = topics(&kafka.0);
    send_to(&kafka.0, 0, "answered").await;
    send_to(&kafka.0, 1, "recorded").await;
    let mut transport = kafka.connect().await;
    let mut deliveries = receive(&mut transport, 2).await;
    deliveries.sort_by_key(|delivery| delivery.source.partition);
    let (recorded, answered) = (deliveries.remove(1), deliveries.remove(0));

    // Without a leader, the results topic takes nothing.
    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, None).expect("no leader");
    }
    let publish = Outcome::Publish(vec![message("answer")]);
    let mut answer = Box::pin(transport.settle(vec![(answered, publish)]));
    let record = transport.settle(vec![(recorded, Outcome::Recorded)]).await.expect("recorded");
    assert_eq!(record, Settlement { recorded: 1, ..Settlement::default() });
    let deadline = Instant::now() + PATIENCE;
    while committed(&kafka.0).await[1] != Some(1) {
        assert!(Instant::now() < deadline, "the other partition's offset is not committed");
    }
    assert_eq!(committed(&kafka.0).await[0], None);
    assert!(futures_util::poll!(&mut answer).is_pending());

    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, Some(1)).expect("a leader");
    }
    let settlement = timeout(PATIENCE, answer).await.expect("in time").expect("confirmed");
    assert_eq!(settlement, Settlement { published: 1, ..Settlement::default() });
    transport.drain(PATIENCE).await.expect("drained");
    assert_eq!(committed(&kafka.0).await[..2], [Some(1), Some(1)]);
    assert_eq!(kafka.results().await[0].payload, "answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_json_does_not_kill_the_consumer() {
    const MESSAGES: usize = 60;
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let poison: [&[u8]; 6] = [
        b"{\"start_idx\": 0, \"end",
        b"\xff\xfe\x00",
        b"",
        br#"{"start_idx": 5, "end_idx": 2}"#,
        br#"{"start_idx": 0, "end_idx": 2}"#,
        br#"[]"#,
    ];
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let publisher = KafkaPublisher::connect(&kafka.0).await.expect("a producer");
    for number in 0..MESSAGES {
        let is_bad = number % 5 == 3;
        let payload = if is_bad { poison[number / 5 % poison.len()] } else { RANGE };
        let id = publisher.publish(message(payload)).await.expect("confirmed");
        if is_bad { bad.push(id) } else { good.push(id) }
    }
    let transport = kafka.connect().await;
    let model = constant(Duration::ZERO, 0);
    let pipeline = Pipeline::new(transport, model, ranges(), PipelineConfig::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(pipeline.run(async { drop(stopped.await) }));

    let deadline = Instant::now() + PATIENCE;
    while kafka.results().await.len() + kafka.dead_letters().await.len() < MESSAGES {
        assert!(Instant::now() < deadline, "not every message came to an end");
        sleep(Duration::from_millis(50)).await;
    }
    stop.send(()).expect("the consumer is alive");
    running.await.expect("no panic").expect("drained");
    let mut answered: Vec<String> = kafka
        .results()
        .await
        .iter()
        .map(|result| result.attributes.text("id").expect("an id").to_owned())
        .collect();
    let mut dead: Vec<String> = kafka
        .dead_letters()
        .await
        .iter()
        .map(|letter| letter.attributes.text("fmnist.id").expect("an id").to_owned())
        .collect();
    for ids in [&mut answered, &mut dead, &mut good, &mut bad] {
        ids.sort();
    }
    assert_eq!(answered, good);
    assert_eq!(dead, bad);
    assert_eq!(committed(&kafka.0).await.into_iter().flatten().sum::<i64>(), MESSAGES as i64);
}

const RANGE: &[u8] = br#"{"start_idx": 0, "end_idx": 1}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_headers_and_tombstones_arrive_as_they_were_sent() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.0.bootstrap_servers)
        .create()
        .expect("a producer");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some(&[0xff, 0x00][..]) })
        .insert(Header { key: "trace", value: None::<&[u8]> })
        .insert(Header { key: "empty", value: Some(&[][..]) });
    let tombstone = FutureRecord::<_, [u8]>::to(&kafka.0.topic).key(&[0xc3, 0x28][..]);
    producer.send(tombstone.headers(headers), PATIENCE).await.expect("confirmed");

    let mut transport = kafka.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    assert_eq!(delivery.key.as_deref(), Some(&[0xc3, 0x28][..]));
    assert!(delivery.payload.is_empty());
    let found: Vec<_> = delivery.attributes.iter().map(|(n, v)| (n, v.map(|v| &v[..]))).collect();
    let expected = [("trace", Some(&[0xff, 0x00][..])), ("trace", None), ("empty", Some(&[][..]))];
    assert_eq!(found, expected);

    let rejection = Rejection::new(Stage::Decode, "empty");
    transport.settle(vec![(delivery, Outcome::Reject(rejection))]).await.expect("dead-lettered");
    let letter = kafka.dead_letters().await.remove(0);
    assert_eq!(letter.key.as_deref(), Some(&[0xc3, 0x28][..]));
    let kept: Vec<_> = letter.attributes.iter().take(3).map(|(name, _)| name).collect();
    assert_eq!(kept, ["trace", "trace", "empty"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_were_paused_when_they_were_revoked_are_read_when_they_come_back() {
    // More than a consumer buffers, so that it pauses.
    const MESSAGES: usize = 40_000;
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.0.bootstrap_servers)
        .create()
        .expect("a producer");
    let mut reports = Vec::new();
    for number in 0..MESSAGES {
        let partition = number as i32 % PARTITIONS;
        let record = FutureRecord::<(), _>::to(&kafka.0.topic).partition(partition).payload("x");
        reports.push(producer.send_result(record).map_err(|(error, _)| error).expect("queued"));
    }
    for report in reports {
        report.await.expect("reported").expect("confirmed");
    }
    let mut first = kafka.connect().await;
    let mut ended = HashSet::new();
    let record = async |transport: &mut KafkaTransport, ended: &mut HashSet<String>| {
        let limits = Limits { max_messages: 500, max_bytes: 1 << 20, max_wait: Duration::ZERO };
        let received = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
        let deliveries = received.expect("received");
        let ids: Vec<String> = deliveries.iter().map(|delivery| delivery.id.clone()).collect();
        let batch = deliveries.into_iter().map(|d| (d, Outcome::Recorded)).collect();
        if transport.settle(batch).await.expect("settled").stale == 0 {
            ended.extend(ids);
        }
    };
    record(&mut first, &mut ended).await;
    let mut second = kafka.connect().await;
    record(&mut second, &mut ended).await;
    second.drain(PATIENCE).await.expect("drained");
    while ended.len() < MESSAGES {
        record(&mut first, &mut ended).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_too_large_goes_as_a_stub() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let sent = kafka.send(vec![message(vec![b'x'; 9_000])]).await;
    let mut transport = narrow(&kafka).connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    let rejection = Rejection::new(Stage::Decode, "not an image");
    let settled = transport.settle(vec![(delivery, Outcome::Reject(rejection))]).await;
    let expected = Settlement { rejected: 1, ..Settlement::default() };
    assert_eq!(settled.expect("confirmed"), expected);
    let letter = kafka.dead_letters().await.remove(0);
    assert!(letter.payload.is_empty());
    assert_eq!(letter.attributes.text("fmnist.id"), Some(&*sent[0]));
    assert_eq!(letter.attributes.text("fmnist.payload.bytes"), Some("9000"));
    assert_eq!(letter.attributes.text("fmnist.payload.sha256").expect("a digest").len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_result_stops_the_consumer_with_its_message_uncommitted() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let sent = kafka.send(vec![message("question")]).await;
    let mut transport = kafka.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    let refused = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
    let answer = Outcome::Publish(vec![message("answer")]);
    let error = transport.settle(vec![(delivery, answer)]).await.expect_err("refused");
    assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
    let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
    let error = transport.recv(limits).await.expect_err("stopped");
    assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
    transport.drain(PATIENCE).await.expect("drained");
    assert_eq!(receive(&mut kafka.connect().await, 1).await[0].id, sent[0]);
}

/// Answers whether a consumer had the offset of its one message committed that drained while the group
/// refused commits so.
async fn drained_and_committed(refused: &[rd_kafka_resp_err_t]) -> bool {
    let cluster = cluster();
    let mut kafka = fresh(&cluster);
    kafka.0.properties.insert("auto.commit.interval.ms".to_owned(), "3600000".to_owned());
    send_to(&kafka.0, 0, "recorded").await;
    let mut transport = kafka.connect().await;
    // Marks are commits, too, and of no group that rebalances.
    transport.forget_crashes();
    let delivery = receive(&mut transport, 1).await.remove(0);
    transport.settle(vec![(delivery, Outcome::Recorded)]).await.expect("recorded");
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, refused);
    transport.drain(PATIENCE).await.expect("drained");
    committed(&kafka.0).await[0] == Some(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_offsets_are_committed_once_a_rebalance_has_ended() {
    let refused = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    assert!(drained_and_committed(&[refused, refused]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_drains_though_its_group_went_on_without_it() {
    for refused in [
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ] {
        assert!(!drained_and_committed(&[refused; 3]).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_attempt_is_of_the_message_that_failed_and_not_of_those_pulled_back_behind_it() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for payload in ["before", "failing", "behind"] {
        send_to(&kafka.0, 0, payload).await;
    }
    let mut transport = kafka.connect().await;
    let attempts = |deliveries: &[Delivery<KafkaToken>]| {
        deliveries.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>()
    };
    let mut deliveries = receive(&mut transport, 3).await;
    assert_eq!(attempts(&deliveries), [Some(1); 3]);
    let behind = deliveries.pop().map(|delivery| (delivery, Outcome::Recorded));
    let failing = deliveries.pop().map(|delivery| (delivery, Outcome::Retry));
    let settled = transport.settle(failing.into_iter().chain(behind).collect()).await;
    let expected = Settlement { retried: 2, ..Settlement::default() };
    assert_eq!(settled.expect("settled"), expected);
    let again = receive(&mut transport, 2).await;
    assert_eq!(attempts(&again), [Some(2), Some(1)]);
    // Dropped unsettled, which is nobody's failure.
    drop(again);
    assert_eq!(attempts(&receive(&mut transport, 2).await), [Some(2), Some(1)]);
}
