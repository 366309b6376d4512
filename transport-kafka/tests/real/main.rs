//! A real Kafka, whose address `scripts/kafka.sh` puts into `FMNIST_TEST_KAFKA`.
//!
//! The program is its own consumer process: it starts itself again with a configuration in
//! `FMNIST_TEST_CONSUMER`, and then kills that process.

#[path = "../it/constant.rs"]
mod constant;
#[path = "../it/harness.rs"]
mod harness;
mod process;

use std::{collections::HashMap, panic::AssertUnwindSafe, process::ExitCode, time::Duration};

use constant::{Constant, test_set};
use fmnist_core::{
    message::ResultRecord,
    pipeline::{Pipeline, PipelineConfig},
    transport::{Capabilities, Guarantee, Limits, Outbound, Publisher, Transport, conformance},
};
use futures_util::FutureExt;
use harness::{Kafka, PARTITIONS, config, read, topics};
use process::Consumer;
use rand::{RngExt, SeedableRng};
use tokio::{sync::oneshot, task::JoinSet};
use transport_kafka::{KafkaConfig, KafkaPublisher, KafkaTransport, create_topics};

const CLAIMS: Capabilities =
    Capabilities { guarantee: Guarantee::AtLeastOnce, lanes: true, attempts: true };

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(settings) = process::settings_from_env() {
        runtime.block_on(process::consume(settings));
        return ExitCode::SUCCESS;
    }
    let servers = std::env::var("FMNIST_TEST_KAFKA")
        .expect("FMNIST_TEST_KAFKA is not set: run scripts/kafka.sh COMMAND");
    let (mut passed, mut failed) = (0, 0);
    let only = std::env::args().nth(1).unwrap_or_default();
    macro_rules! tests {
        ($($name:ident),* $(,)?) => {$(
            if stringify!($name).contains(&only) {
                let test = AssertUnwindSafe($name(&servers)).catch_unwind();
                let ok = runtime.block_on(test).is_ok();
                println!("test {} ... {}", stringify!($name), if ok { "ok" } else { "FAILED" });
                if ok { passed += 1 } else { failed += 1 }
            }
        )*};
    }
    tests!(
        the_kafka_transport_conforms,
        messages_of_every_codec_are_read,
        consumers_that_join_and_leave_lose_nothing,
        twenty_kills_lose_nothing,
        memory_does_not_grow_with_what_waits,
    );
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    ExitCode::from(u8::from(failed > 0))
}

async fn fresh(servers: &str) -> KafkaConfig {
    let config = config(servers);
    create_topics(&config, PARTITIONS).await.expect("topics");
    config
}

/// Sends `count` messages of `payload`; answers their ids.
async fn send(config: &KafkaConfig, count: usize, payload: &'static [u8]) -> Vec<String> {
    let publisher = KafkaPublisher::new(config).expect("a producer");
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let mut sending = JoinSet::new();
        for _ in 0..(count - ids.len()).min(2_000) {
            let publisher = publisher.clone();
            let message = Outbound { payload: payload.into(), ..Outbound::default() };
            sending.spawn(async move { publisher.publish(message).await.expect("confirmed") });
        }
        ids.extend(sending.join_all().await);
    }
    ids
}

/// How often each id was answered.
async fn answers(config: &KafkaConfig) -> HashMap<String, usize> {
    let mut answers = HashMap::new();
    for result in read(config, topics(config)[1]).await {
        let record: ResultRecord = serde_json::from_slice(&result.payload).expect("a result");
        *answers.entry(record.id).or_default() += 1;
    }
    answers
}

/// Waits until each of `ids` is answered; answers how many results were doubles.
async fn assert_answered(config: &KafkaConfig, ids: &[String]) -> usize {
    for _ in 0..120 {
        let answers = answers(config).await;
        let missing = ids.iter().filter(|id| !answers.contains_key(*id)).count();
        if missing == 0 {
            assert_eq!(answers.len(), ids.len(), "answers to messages that nobody sent");
            return answers.values().sum::<usize>() - ids.len();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("messages without an answer after two minutes");
}

const RANGE: &[u8] = br#"{"start_idx": 0, "end_idx": 1}"#;

async fn the_kafka_transport_conforms(servers: &str) {
    conformance::run(CLAIMS, async || Kafka(fresh(servers).await)).await;
}

async fn messages_of_every_codec_are_read(servers: &str) {
    let config = fresh(servers).await;
    const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];
    for codec in CODECS {
        let mut config = config.clone();
        config.properties.insert("compression.type".to_owned(), codec.to_owned());
        send(&config, 1, codec.as_bytes()).await;
    }
    let mut transport = KafkaTransport::connect(&config).await.expect("connected");
    // Held, not dropped: what is dropped unsettled is delivered again.
    let mut deliveries = Vec::new();
    while deliveries.len() < CODECS.len() {
        let limits = Limits { max_messages: 9, max_bytes: 1 << 20, max_wait: Duration::ZERO };
        let received = tokio::time::timeout(Duration::from_secs(30), transport.recv(limits)).await;
        deliveries.extend(received.expect("in time").expect("received"));
    }
    let mut payloads: Vec<_> = deliveries.iter().map(|d| d.payload.clone()).collect();
    payloads.sort();
    assert_eq!(payloads, ["gzip", "lz4", "snappy", "zstd"]);
}

async fn consumers_that_join_and_leave_lose_nothing(servers: &str) {
    let config = fresh(servers).await;
    let mut consumers = Vec::new();
    let mut ids = Vec::new();
    for round in 0..6 {
        ids.extend(send(&config, 500, RANGE).await);
        if round == 4 {
            let (stop, running): (oneshot::Sender<()>, tokio::task::JoinHandle<_>) =
                consumers.remove(0);
            stop.send(()).expect("it runs");
            running.await.expect("no panic");
        } else if round < 3 {
            let transport = KafkaTransport::connect(&config).await.expect("connected");
            let model = Constant::new(Duration::from_millis(20));
            let pipeline = Pipeline::new(transport, model, test_set(), PipelineConfig::default());
            let (stop, stopped) = oneshot::channel::<()>();
            let running = tokio::spawn(async move {
                pipeline.run(async { drop(stopped.await) }).await.expect("drained");
            });
            consumers.push((stop, running));
        }
    }
    let doubled = assert_answered(&config, &ids).await;
    println!("rebalances: messages {}, missing 0, duplicates {doubled}", ids.len());
    for (stop, running) in consumers {
        stop.send(()).expect("it runs");
        running.await.expect("no panic");
    }
}

async fn twenty_kills_lose_nothing(servers: &str) {
    const MESSAGES: usize = 50_000;
    const KILLS: usize = 20;
    let mut config = fresh(servers).await;
    config.group_instance_id = Some("the-consumer".to_owned());
    let ids = send(&config, MESSAGES, RANGE).await;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    for _ in 0..KILLS {
        let consumer = Consumer::start(&config, Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2_000))).await;
        consumer.kill();
    }
    let before = answers(&config).await.len();
    assert!(before < MESSAGES, "the last kill came after the last message");
    let consumer = Consumer::start(&config, Duration::ZERO);
    let doubled = assert_answered(&config, &ids).await;
    consumer.kill();
    println!(
        "kills {KILLS} (the last after {before} messages), messages {MESSAGES}, missing 0, \
         duplicates {doubled}"
    );
}

async fn memory_does_not_grow_with_what_waits(servers: &str) {
    // 13 raw images: 10,192 bytes.
    static PAYLOAD: [u8; 13 * 784] = [7; 13 * 784];
    let mut peaks = Vec::new();
    for waiting in [1_000, 50_000] {
        let config = fresh(servers).await;
        send(&config, waiting, &PAYLOAD).await;
        let consumer = Consumer::start(&config, Duration::from_secs(1));
        peaks.push(consumer.peak_memory_kb(Duration::from_secs(15)).await);
        consumer.kill();
    }
    let grown = peaks[1].saturating_sub(peaks[0]);
    println!(
        "peak resident memory: {} kB with 1,000 waiting, {} kB with 50,000",
        peaks[0], peaks[1]
    );
    assert!(grown <= 64 << 10, "grew by {grown} kB");
}
