//! A real Kafka, whose address `scripts/kafka.sh` puts into `FMNIST_TEST_KAFKA`.
//!
//! The program is its own consumer process: it starts itself again with a configuration in
//! `FMNIST_TEST_CONSUMER`, and then kills that process.

mod real {
    pub(crate) mod kills;
    pub(crate) mod process;
    pub(crate) mod security;
    pub(crate) mod transactions;
}
mod support {
    pub(crate) mod constant;
    pub(crate) mod harness;
}

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Duration};

use futures_util::FutureExt;
use real::{
    kills::{
        a_message_on_two_topics_is_seen_on_both_or_on_neither_after_every_kill,
        twenty_kills_lose_and_double_nothing_in_transactions, twenty_kills_lose_nothing,
        twenty_kills_lose_nothing_with_a_commit_a_batch,
    },
    process::{self, Consumer},
    security::{
        a_broker_of_another_authority_is_refused_within_seconds,
        a_wrong_password_is_said_within_seconds, kerberos_is_refused_by_name,
        messages_are_answered_over_tls, messages_are_answered_with_a_password,
    },
    transactions::{
        a_dead_letter_that_the_broker_finds_too_large_goes_as_a_stub,
        a_second_process_of_the_same_name_ends_the_first, a_zombie_doubles_nothing,
        consumers_that_join_and_leave_double_nothing_in_transactions,
    },
};
use stream_inference::{
    audit::{Account, Ledger},
    pipeline::{Pipeline, PipelineConfig, PipelineError, PipelineReport},
    transport::{Capabilities, Guarantee, Limits, Outbound, Publisher, Transport, conformance},
};
use support::{
    constant::{self, constant, ranges},
    harness::{self, Kafka, PARTITIONS, config, read, topics},
};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use transport_kafka::{
    KafkaConfig, KafkaGuarantee, KafkaPublisher, KafkaTransport, create_missing,
};

const fn claims(guarantee: Guarantee) -> Capabilities {
    Capabilities::new(guarantee).with_lanes(true).with_attempts(true)
}

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
        the_kafka_transport_conforms_in_transactions,
        messages_of_every_codec_are_read,
        consumers_that_join_and_leave_lose_nothing,
        consumers_that_join_and_leave_double_nothing_in_transactions,
        a_zombie_doubles_nothing,
        a_second_process_of_the_same_name_ends_the_first,
        a_dead_letter_that_the_broker_finds_too_large_goes_as_a_stub,
        twenty_kills_lose_nothing,
        twenty_kills_lose_nothing_with_a_commit_a_batch,
        twenty_kills_lose_and_double_nothing_in_transactions,
        a_message_on_two_topics_is_seen_on_both_or_on_neither_after_every_kill,
        memory_does_not_grow_with_what_waits,
        the_kafka_transport_conforms_in_a_group_of_the_new_protocol,
        consumers_of_the_new_protocol_that_join_and_leave_lose_nothing,
        messages_are_answered_over_tls,
        messages_are_answered_with_a_password,
        a_wrong_password_is_said_within_seconds,
        a_broker_of_another_authority_is_refused_within_seconds,
        kerberos_is_refused_by_name,
    );
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    ExitCode::from(u8::from(failed > 0))
}

async fn fresh(servers: &str) -> KafkaConfig {
    let config = config(servers);
    create_missing(&config, PARTITIONS).await.expect("topics");
    config
}

/// Sends `count` messages of `payload`; returns their ids.
async fn send(config: &KafkaConfig, count: usize, payload: &'static [u8]) -> Vec<String> {
    let publisher = KafkaPublisher::connect(config).await.expect("a producer");
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

/// What became of the messages with these ids, as a reader of committed messages sees it.
async fn account(config: &KafkaConfig, ids: &[String]) -> Account {
    let [_, results, dead_letters] = topics(config);
    let mut ledger = Ledger::default();
    ids.iter().for_each(|id| ledger.input(id));
    for result in read(config, results).await {
        ledger.result(result.attributes.text("id").expect("an id"));
    }
    for letter in read(config, dead_letters).await {
        ledger.dead_letter(letter.attributes.text("fmnist.id").expect("an id"));
    }
    ledger.account()
}

/// Waits until each of `ids` has an end; returns how many ends were doubles.
async fn assert_ended(config: &KafkaConfig, ids: &[String]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let account = account(config, ids).await;
        assert_eq!(account.orphaned, Vec::<String>::new(), "ends of messages that nobody sent");
        if account.is_complete() {
            return account.duplicates;
        }
        let Account { missing, .. } = account;
        let sample = &missing[..missing.len().min(5)];
        assert!(Instant::now() < deadline, "{} without an end, such as {sample:?}", missing.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

const RANGE: &[u8] = br#"{"start_idx": 0, "end_idx": 1}"#;

async fn the_kafka_transport_conforms(servers: &str) {
    let claims = claims(Guarantee::AtLeastOnce);
    conformance::run(claims, async || Kafka(fresh(servers).await)).await;
}

/// As [`fresh`], in transactions.
async fn exactly_once(servers: &str) -> KafkaConfig {
    KafkaConfig { guarantee: KafkaGuarantee::ExactlyOnce, ..fresh(servers).await }
}

async fn the_kafka_transport_conforms_in_transactions(servers: &str) {
    let claims = claims(Guarantee::ExactlyOnce);
    conformance::run(claims, async || Kafka(exactly_once(servers).await)).await;
}

/// As [`fresh`], in a group whose partitions the broker assigns (KIP-848).
async fn new_protocol(servers: &str) -> KafkaConfig {
    let mut config = fresh(servers).await;
    config.properties = [("group.protocol".to_owned(), "consumer".to_owned())].into();
    config
}

async fn the_kafka_transport_conforms_in_a_group_of_the_new_protocol(servers: &str) {
    let claims = claims(Guarantee::AtLeastOnce);
    conformance::run(claims, async || Kafka(new_protocol(servers).await)).await;
}

async fn consumers_of_the_new_protocol_that_join_and_leave_lose_nothing(servers: &str) {
    let doubled = join_and_leave(new_protocol(servers).await).await;
    println!("rebalances of the new protocol: messages 3000, missing 0, duplicates {doubled}");
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
    let doubled = join_and_leave(fresh(servers).await).await;
    println!("rebalances: messages 3000, missing 0, duplicates {doubled}");
}

/// Answers how many results were doubles.
async fn join_and_leave(config: KafkaConfig) -> usize {
    let mut consumers = Vec::new();
    let mut ids = Vec::new();
    for round in 0..6 {
        ids.extend(send(&config, 500, RANGE).await);
        if round == 4 {
            consume_no_more(consumers.remove(0)).await;
        } else if round < 3 {
            consumers.push(consume(&config).await);
        }
    }
    let doubled = assert_ended(&config, &ids).await;
    for consumer in consumers {
        consume_no_more(consumer).await;
    }
    doubled
}

type Running = (oneshot::Sender<()>, JoinHandle<Result<PipelineReport, PipelineError>>);

/// A pipeline in this process.
async fn consume(config: &KafkaConfig) -> Running {
    let transport = KafkaTransport::connect(config).await.expect("connected");
    let model = constant(Duration::from_millis(20), 0);
    let pipeline = Pipeline::new(transport, model, ranges(), PipelineConfig::default());
    let (stop, stopped) = oneshot::channel::<()>();
    (stop, tokio::spawn(pipeline.run(async { drop(stopped.await) })))
}

async fn consume_no_more((stop, running): Running) {
    stop.send(()).expect("it runs");
    running.await.expect("no panic").expect("drained");
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
    // Of the 500 MB that wait: 16 MiB in flight, as bytes and as images, and librdkafka's 8 MiB for each of
    // four partitions, which makes 64 MiB; the rest is the allocator's.
    assert!(grown <= 96 << 10, "grew by {grown} kB");
}
