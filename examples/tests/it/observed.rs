//! What an operator sees of a consumer: probes, metrics, logs.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;
use test_kit::{Program, example, get};

use crate::processes::{cluster, send};

#[test]
fn a_consumer_with_a_health_port_answers_probes_and_prometheus() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut consumer = Program::start(
        example("kafka_consumer")
            .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers)
            .env("FMNIST_SERVER__HEALTH_PORT", "0"),
    );
    let line = consumer.logged("probes and metrics on http://");
    let address = line.trim().rsplit('/').next().unwrap().to_owned();
    assert_eq!(get(&address, "/livez").0, 200);
    consumer.logged("listening on topic INFERENCE");
    // It is so a moment after it says where it listens.
    while get(&address, "/readyz").0 == 503 {
        std::thread::yield_now();
    }
    assert_eq!(get(&address, "/readyz"), (200, r#"{"status":"ready"}"#.to_owned()));
    send(
        &servers,
        &["{", r#"{"start_idx": 0, "end_idx": 3}"#, r#"{"start_idx": 3, "end_idx": 4}"#],
    );
    let settled = r#"fmnist_messages_settled_total{transport="kafka",outcome="published"} 2"#;
    // A result is printed before it is settled.
    for _ in 0..4 {
        consumer.printed();
    }
    let text = loop {
        let (status, text) = get(&address, "/metrics");
        assert_eq!(status, 200);
        if text.contains(settled) {
            break text;
        }
    };
    for expected in [
        r#"fmnist_dead_letters_total{transport="kafka",reason="DECODE"} 1"#,
        r#"fmnist_images_total{transport="kafka",model_name="base"} 4"#,
        r#"fmnist_rebalances_total{transport="kafka",change="assigned"} 1"#,
        r#"fmnist_model_info{model_name="base",model_version=""#,
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert_eq!(get(&address, "/").0, 404);
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[test]
fn logs_are_json_where_that_is_asked_for_and_have_no_payload_in_them() {
    const SECRET: &str = "customer-4711";
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let secret = |template: &str| template.replace("SECRET", SECRET);
    let bad = [
        "SECRET",
        r#"{"start_idx": "SECRET", "end_idx": 2}"#,
        r#"{"SECRET": 1, "start_idx": 0, "start_idx": 1}"#,
        r#"{"inputs": [{"name": "SECRET", "shape": ["SECRET"], "datatype": "SECRET", "data": []}]}"#,
        r#"{"inputs": "SECRET"}"#,
    ]
    .map(secret);
    let mut payloads: Vec<&str> = bad.iter().map(String::as_str).collect();
    payloads.push(r#"{"start_idx": 0, "end_idx": 2}"#);
    send(&servers, &payloads);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut consumer = example("kafka_consumer")
        .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers)
        .env("FMNIST_LOG", "json")
        .env("RUST_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    let mut stdout = BufReader::new(consumer.stdout.take().unwrap());
    stdout.read_line(&mut printed).unwrap();
    assert!(printed.contains("Model Inference [0 - 2]"), "{printed}");
    let pid = consumer.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(consumer.wait().unwrap().code(), Some(0));

    let log = fs::read_to_string(log).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    let events = log.lines().filter(|line| line.starts_with(r#"{"timestamp":"#));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = events.iter().filter(|event| event["message"] == "message refused");
    let ids: Vec<&str> = refused.map(|event| event["id"].as_str().unwrap()).collect();
    let expected = [0, 1, 2, 3, 4].map(|offset| format!("INFERENCE/0/{offset}"));
    assert_eq!(ids, expected);
}
