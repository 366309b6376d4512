//! A consumer that is killed in mid-stream, again and again.

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use serde_json::Value;
use stream_inference::transport::conformance::Harness;
use transport_kafka::KafkaConfig;

use crate::{
    RANGE, account, assert_ended, exactly_once, fresh,
    harness::{Kafka, answered},
    process::Consumer,
    send,
};

const MESSAGES: usize = 80_000;
const KILLS: usize = 20;

/// Answers how many results were doubles.
async fn kill_twenty_times(mut config: KafkaConfig, way: &str) -> usize {
    config.group_instance_id = Some("the-consumer".to_owned());
    let ids = send(&config, MESSAGES, RANGE).await;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    for _ in 0..KILLS {
        let consumer = Consumer::start(&config, Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2_000))).await;
        consumer.kill();
    }
    let before = account(&config, &ids).await.answered;
    assert!(before < MESSAGES, "the last kill came after the last message");
    let consumer = Consumer::start(&config, Duration::ZERO);
    let doubled = assert_ended(&config, &ids).await;
    consumer.kill();
    println!(
        "{way}: kills {KILLS} (the last after {before} answers), messages {MESSAGES}, missing 0, \
         duplicates {doubled}"
    );
    if std::env::var_os("FMNIST_TEST_WRITE_KILLS").is_some() {
        note(way, doubled);
    }
    doubled
}

/// Puts a figure of docs/delivery.md into the file that it comes from.
fn note(way: &str, duplicates: usize) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().expect("nobody panicked");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kills.json");
    let mut noted: Value = fs::read_to_string(path)
        .map_or_else(|_| serde_json::json!({}), |text| serde_json::from_str(&text).expect("JSON"));
    noted[way] = serde_json::json!({
        "kills": KILLS, "messages": MESSAGES, "missing": 0, "duplicates": duplicates,
    });
    fs::write(path, format!("{noted:#}\n")).expect("written");
}

pub(crate) async fn twenty_kills_lose_nothing(servers: &str) {
    kill_twenty_times(fresh(servers).await, "a commit a second").await;
}

pub(crate) async fn twenty_kills_lose_nothing_with_a_commit_a_batch(servers: &str) {
    let mut config = fresh(servers).await;
    config.properties.insert("auto.commit.interval.ms".to_owned(), "0".to_owned());
    kill_twenty_times(config, "a commit a batch").await;
}

pub(crate) async fn twenty_kills_lose_and_double_nothing_in_transactions(servers: &str) {
    let doubled = kill_twenty_times(exactly_once(servers).await, "transactions").await;
    assert_eq!(doubled, 0, "results that a reader of committed messages sees twice");
}

/// Waits until a reader of committed messages sees the same of both topics; returns the ids. What was
/// committed is there at once, its marks a moment later, on one partition after the other.
async fn seen_on_both(kafka: &Kafka) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = [kafka.results().await, kafka.routed().await].map(|results| answered(&results));
        let [on_results, on_route] = seen;
        if on_results == on_route {
            return on_results;
        }
        let (results, route) = (on_results.len(), on_route.len());
        assert!(Instant::now() < deadline, "{results} on the results topic, {route} on the route");
    }
}

pub(crate) async fn a_message_on_two_topics_is_seen_on_both_or_on_neither_after_every_kill(
    servers: &str,
) {
    const MESSAGES: usize = 10_000;
    const KILLS: usize = 8;
    // All need 16 s, as long as the killed may live together, however fast the machine is.
    const DELAY: Duration = Duration::from_millis(40);
    const _: () = assert!(MESSAGES / Consumer::AT_ONCE * 40 >= KILLS * 2_000);
    let mut config = exactly_once(servers).await;
    config.group_instance_id = Some("the-consumer".to_owned());
    let mut ids = send(&config, MESSAGES, RANGE).await;
    ids.sort_unstable();
    let kafka = Kafka(config);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let mut seen = Vec::new();
    for _ in 0..KILLS {
        let consumer = Consumer::start_onto_both(&kafka.0, DELAY);
        tokio::time::sleep(Duration::from_millis(random.random_range(700..2_000))).await;
        consumer.kill();
        seen.push(seen_on_both(&kafka).await.len());
    }
    let last = seen[KILLS - 1];
    assert!(0 < last && last < MESSAGES, "{last} of {MESSAGES} before the last kill");
    let consumer = Consumer::start_onto_both(&kafka.0, DELAY);
    let deadline = Instant::now() + Duration::from_secs(120);
    // While it answers, the topic that is read later has more.
    while answered(&kafka.results().await).len() < MESSAGES {
        assert!(Instant::now() < deadline, "not all are answered");
    }
    consumer.kill();
    assert_eq!(seen_on_both(&kafka).await, ids, "each once, on both");
    println!("two topics: kills {KILLS}, messages {MESSAGES}, seen on both after each: {seen:?}");
}
