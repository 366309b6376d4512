//! A consumer that is killed in mid-stream, again and again.

use std::{fs, sync::Mutex, time::Duration};

use rand::{RngExt, SeedableRng};
use serde_json::Value;
use transport_kafka::KafkaConfig;

use crate::{RANGE, account, assert_ended, exactly_once, fresh, process::Consumer, send};

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
