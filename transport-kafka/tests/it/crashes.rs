//! What a consumer leaves behind that ends without a farewell, and what the next one makes of it.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use stream_inference::{
    codec::Raw,
    pipeline::{Pipeline, PipelineConfig},
    predict::{ModelIdentity, PredictError, function},
    transport::{
        Crashes, Delivery, Limits, Outbound, Outcome, Stage, Transport, conformance::Harness,
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use transport_kafka::{KafkaConfig, KafkaToken, KafkaTransport};

use crate::{
    cluster,
    constant::constant,
    faults::{receive, send_to},
    fresh,
    harness::Kafka,
};

const PATIENCE: Duration = Duration::from_secs(30);
const RANGE: &[u8] = br#"{"start_idx": 0, "end_idx": 1}"#;
/// Message 1 was alone in flight at one end more than this says, and up to three are suspects.
const LEFT_BEHIND: &str = "alone from=1 crashes=2 stage=INFER";

/// A client of the group of the marks.
fn marks(config: &KafkaConfig) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("group.id", format!("{}.in-flight", config.group_id))
        .create()
        .expect("a consumer")
}

/// Leaves a mark on partition 0, as a consumer does that ends without a farewell.
async fn leave(config: &KafkaConfig, offset: i64, text: &'static str) {
    let config = config.clone();
    let leave = move || {
        let mut place = TopicPartitionList::new();
        let mut mark = place.add_partition(&config.topic, 0);
        mark.set_offset(Offset::Offset(offset)).expect("an offset");
        mark.set_metadata(text);
        marks(&config).commit(&place, CommitMode::Sync).expect("committed");
    };
    tokio::task::spawn_blocking(leave).await.expect("no panic");
}

/// The mark on partition 0.
async fn found(config: &KafkaConfig) -> (Offset, String) {
    let config = config.clone();
    let ask = move || {
        let mut place = TopicPartitionList::new();
        place.add_partition(&config.topic, 0);
        let found = marks(&config).committed_offsets(place, PATIENCE).expect("offsets");
        let mark = &found.elements()[0];
        (mark.offset(), mark.metadata().to_owned())
    };
    tokio::task::spawn_blocking(ask).await.expect("no panic")
}

async fn record(transport: &mut KafkaTransport, delivery: Delivery<KafkaToken>) {
    transport.settle(vec![(delivery, Outcome::Recorded)]).await.expect("recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_marked_before_and_a_drained_consumer_leaves_no_mark() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for _ in 0..3 {
        send_to(&kafka.0, 0, "x").await;
    }
    let mut transport = kafka.connect().await;
    let deliveries = receive(&mut transport, 3).await;
    assert!(deliveries.iter().all(|delivery| transport.crashes(delivery).is_none()));
    assert_eq!(found(&kafka.0).await, (Offset::Offset(2_048), "open".to_owned()));
    let batch = deliveries.into_iter().map(|delivery| (delivery, Outcome::Recorded)).collect();
    transport.settle(batch).await.expect("recorded");
    transport.drain(PATIENCE).await.expect("drained");
    assert_eq!(found(&kafka.0).await.1, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unclean_end_what_was_in_flight_comes_one_at_a_time_with_its_crashes() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for _ in 0..5 {
        send_to(&kafka.0, 0, "x").await;
    }
    leave(&kafka.0, 3, LEFT_BEHIND).await;
    let mut transport = kafka.connect().await;
    let all = Limits { max_messages: 9, max_bytes: 1 << 20, max_wait: Duration::ZERO };
    let first = Crashes { count: 0, stage: Stage::Decode };
    let known = Crashes { count: 3, stage: Stage::Infer };
    for (offset, crashes) in [(0, first), (1, known), (2, first)] {
        let received = timeout(PATIENCE, transport.recv(all)).await.expect("in time");
        let [delivery] = <[_; 1]>::try_from(received.expect("received")).expect("one alone");
        assert_eq!(delivery.source.offset, Some(offset));
        assert_eq!(transport.crashes(&delivery), Some(crashes));
        let (count, stage) = (crashes.count, crashes.stage);
        let mark = format!("alone from={offset} crashes={count} stage={stage}");
        assert_eq!(found(&kafka.0).await, (Offset::Offset(3), mark));
        transport.enter(Stage::Encode).await;
        let mark = format!("alone from={offset} crashes={count} stage=ENCODE");
        assert_eq!(found(&kafka.0).await, (Offset::Offset(3), mark));
        record(&mut transport, delivery).await;
    }
    let rest = receive(&mut transport, 2).await;
    assert!(rest.iter().all(|delivery| transport.crashes(delivery).is_none()));
    assert_eq!(found(&kafka.0).await.1, "open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unclean_end_many_that_may_have_been_in_flight_come_a_few_at_a_time() {
    const MESSAGES: usize = 200;
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for _ in 0..MESSAGES {
        send_to(&kafka.0, 0, "x").await;
    }
    leave(&kafka.0, 2_048, "open").await;
    let mut transport = kafka.connect().await;
    let all = Limits { max_messages: 256, max_bytes: 1 << 20, max_wait: Duration::ZERO };
    let mut offsets = 0..MESSAGES as i64;
    while !offsets.is_empty() {
        let received = timeout(PATIENCE, transport.recv(all)).await.expect("in time");
        let received = received.expect("received");
        let of_this = offsets.start..offsets.start + received.len() as i64;
        assert!(received.iter().filter_map(|delivery| delivery.source.offset).eq(of_this.clone()));
        assert!(received.iter().all(|delivery| transport.crashes(delivery).is_none()));
        let to = (of_this.start + 64).min(offsets.end);
        assert!(of_this.end <= to, "{of_this:?}");
        let mark = format!("few from={} to={to}", of_this.start);
        assert_eq!(found(&kafka.0).await, (Offset::Offset(offsets.end), mark));
        let batch = received.into_iter().map(|delivery| (delivery, Outcome::Recorded)).collect();
        transport.settle(batch).await.expect("recorded");
        offsets.start = of_this.end;
    }
    send_to(&kafka.0, 0, "x").await;
    let next = receive(&mut transport, 1).await;
    assert_eq!(next[0].source.offset, Some(MESSAGES as i64));
    assert_eq!(found(&kafka.0).await.1, "open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_counts_crashes_nothing_comes_alone_and_nothing_is_marked() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for _ in 0..3 {
        send_to(&kafka.0, 0, "x").await;
    }
    leave(&kafka.0, 3, LEFT_BEHIND).await;
    let mut transport = kafka.connect().await;
    transport.forget_crashes();
    let deliveries = receive(&mut transport, 3).await;
    assert!(deliveries.iter().all(|delivery| transport.crashes(delivery).is_none()));
    assert_eq!(found(&kafka.0).await, (Offset::Offset(3), LEFT_BEHIND.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ended_the_process_three_times_is_dead_lettered_at_its_stage() {
    const MESSAGES: usize = 5;
    let cluster = cluster();
    let kafka = fresh(&cluster);
    for _ in 0..MESSAGES {
        send_to(&kafka.0, 0, RANGE).await;
    }
    leave(&kafka.0, 3, LEFT_BEHIND).await;
    let model = constant(Duration::ZERO, Bytes::new());
    let config = PipelineConfig::default();
    let pipeline = Pipeline::new(kafka.connect().await, model, Raw::new(), config);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(pipeline.run(async { drop(stopped.await) }));
    let deadline = Instant::now() + PATIENCE;
    while kafka.results().await.len() + kafka.dead_letters().await.len() < MESSAGES {
        assert!(Instant::now() < deadline, "not every message came to an end");
        sleep(Duration::from_millis(50)).await;
    }
    drop(stop);
    let report = running.await.expect("no panic").expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (MESSAGES - 1, 1));
    let letter = kafka.dead_letters().await.remove(0);
    let text = |name| letter.attributes.text(name).expect("a header");
    assert_eq!(text("__connect.errors.offset"), "1");
    assert_eq!(text("__connect.errors.stage"), "INFER");
    assert!(text("__connect.errors.exception.message").contains("3 times"));
    assert_eq!(letter.payload, RANGE);
    assert_eq!(found(&kafka.0).await.1, "");
}

/// The first byte of a message that ends the process.
const DEADLY: u8 = 66;
/// Names the servers, group and topics to the process that is to die.
const VARIABLE: &str = "FMNIST_TEST_DEADLY";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that the next test starts again and again"]
async fn a_consumer_with_a_deadly_message() {
    let Ok(config) = std::env::var(VARIABLE) else { return };
    let config: KafkaConfig = serde_json::from_str(&config).expect("a configuration");
    let transport = KafkaTransport::connect(&config).await.expect("connected");
    let model = function(ModelIdentity::of_code("deadly", "1.0"), |batch: &[Bytes]| {
        if batch.iter().any(|payload| payload[0] == DEADLY) {
            std::process::abort();
        }
        Ok::<_, PredictError>(batch.to_vec())
    });
    let pipeline = Pipeline::new(transport, model, Raw::new(), PipelineConfig::default());
    pipeline.run(std::future::pending()).await.expect("it is killed, or dies");
}

/// That consumer; killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(config: &KafkaConfig) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        program.args(["--exact", "it::crashes::a_consumer_with_a_deadly_message", "--ignored"]);
        program.env(VARIABLE, serde_json::to_string(config).expect("JSON"));
        program.stdout(Stdio::null()).stderr(Stdio::null());
        Self(program.spawn().expect("started"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ids that have an end.
async fn ended(kafka: &Kafka) -> BTreeSet<String> {
    let results = kafka.results().await.into_iter();
    let id = |result: Outbound| result.attributes.text("id").expect("an id").to_owned();
    let dead = kafka.dead_letters().await.into_iter();
    let of = |letter: Outbound| letter.attributes.text("fmnist.id").expect("an id").to_owned();
    results.map(id).chain(dead.map(of)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_aborts_the_process_ends_after_three_times_alone_and_all_others_are_answered()
 {
    const MESSAGES: usize = 9;
    let cluster = cluster();
    let mut kafka = fresh(&cluster);
    kafka.0.properties.insert("session.timeout.ms".to_owned(), "3000".to_owned());
    for number in 0..MESSAGES {
        let byte = if number == 4 { DEADLY } else { 0 };
        send_to(&kafka.0, 0, &[byte]).await;
    }
    let mut deaths = 0;
    let deadline = Instant::now() + 4 * PATIENCE;
    'starts: loop {
        let mut process = Process::start(&kafka.0);
        while process.0.try_wait().expect("its state").is_none() {
            assert!(Instant::now() < deadline, "{deaths} deaths, and not every message has an end");
            if ended(&kafka).await.len() == MESSAGES {
                break 'starts;
            }
            sleep(Duration::from_millis(100)).await;
        }
        deaths += 1;
    }
    // Once among others, then three times alone.
    assert_eq!(deaths, 4);
    let letters = kafka.dead_letters().await;
    assert_eq!(letters.len(), 1);
    let text = |name| letters[0].attributes.text(name).expect("a header");
    assert_eq!(text("__connect.errors.offset"), "4");
    assert_eq!(text("__connect.errors.stage"), "INFER");
}
