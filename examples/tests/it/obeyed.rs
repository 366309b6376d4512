//! Signals at any moment, and readers who do not read: nothing holds a consumer up.

use std::net::TcpListener;

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use test_kit::{Program, example, get};

use crate::{
    processes::{cluster, send},
    start::answered,
};

const RANGE: &str = r#"{"start_idx": 0, "end_idx": 2}"#;

/// A port where connections are taken and nothing is said.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn consumer(cluster: &MockCluster<'_, DefaultProducerContext>) -> std::process::Command {
    let mut command = example("kafka_consumer");
    command.env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap_servers());
    command
}

/// Until so many are answered.
fn wait_for(servers: &str, messages: usize) {
    while answered(servers).len() < messages {}
}

#[test]
fn a_consumer_that_waits_for_a_silent_broker_ends_at_once_and_a_check_ends_without_success() {
    let (_listener, address) = silent();
    for signal in ["-INT", "-TERM"] {
        for (arguments, code) in
            [(&[][..], 0), (&["--check"], 130), (&["--create"], 130), (&["--until-end"], 130)]
        {
            let mut command = example("kafka_consumer");
            command.args(arguments).env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &address);
            let mut consumer = Program::start(&mut command);
            consumer.logged("configuration:");
            assert_eq!(consumer.end(signal), Some(code), "{signal} {arguments:?}");
        }
    }
}

#[test]
fn a_consumer_waits_for_its_database_red_and_in_words_and_ends_when_it_is_asked_to() {
    let cluster = cluster();
    let url = "postgres://me:s3cret@127.0.0.1:1/results";
    let mut command = consumer(&cluster);
    command.env("FMNIST_DATABASE__URL", url).env("FMNIST_SERVER__HEALTH_PORT", "0");
    let mut consumer = Program::start(&mut command);
    let line = consumer.logged("probes and metrics on http://");
    let address = line.trim().rsplit('/').next().unwrap().to_owned();
    consumer.logged("waiting for the database");
    let (status, body) = get(&address, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("waits for database postgres://me:(hidden)@127.0.0.1:1"), "{body}");
    assert_eq!(get(&address, "/livez").0, 200);
    let (_, metrics) = get(&address, "/metrics");
    // A minute later it is 1.
    assert!(metrics.contains(r#"fmnist_stalled{transport="kafka"} 0"#), "{metrics}");
    assert_eq!(consumer.end("-TERM"), Some(0));

    let mut check = Program::start(command.arg("--check"));
    let line = check.logged("error: the database");
    assert!(line.contains("can't be opened") && !line.contains("s3cret"), "{line}");
    assert_eq!(check.code(), Some(1));
}

#[test]
fn a_run_to_the_end_that_is_cut_short_has_not_succeeded_and_the_next_one_brings_it_to_the_end() {
    const MESSAGES: usize = 48;
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    send(&servers, &[r#"{"start_idx": 0, "end_idx": 1000}"#; MESSAGES]);
    let mut command = consumer(&cluster);
    // So large, and so few at once, that most are not received when the first is answered.
    command.arg("--until-end").env("FMNIST_BATCH__MAX_MESSAGES", "2");
    // The mock waits for a member that has left as for one that is lost.
    command.env("FMNIST_KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "6000");
    let mut first = Program::start(&mut command);
    first.printed();
    assert_eq!(first.end("-TERM"), Some(1));
    let line = first.logged("error: ");
    assert!(line.contains("stopped before the end of the topic; group "), "{line}");
    assert!(answered(&servers).len() < MESSAGES);

    let mut second = Program::start(consumer(&cluster).arg("--until-end"));
    assert_eq!(second.code(), Some(0));
    let mut ids = answered(&servers);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), MESSAGES);
}

#[test]
fn a_stdout_that_was_closed_holds_nothing_back() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut consumer = Program::start(&mut consumer(&cluster));
    send(&servers, &[RANGE]);
    consumer.printed();
    consumer.close_stdout();
    send(&servers, &[RANGE; 5]);
    wait_for(&servers, 6);
    consumer.logged("stdout is closed: what is printed is dropped");
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[test]
fn a_stdout_and_a_log_that_nobody_reads_hold_nothing_back() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    // A pipe takes 64 KB: these are some 8 KB of labels each, and a line of the log.
    const MESSAGES: usize = 40;
    send(&servers, &["{"; 2_000]);
    send(&servers, &[r#"{"start_idx": 0, "end_idx": 1000}"#; MESSAGES]);
    let mut consumer = Program::start(&mut consumer(&cluster));
    wait_for(&servers, MESSAGES);
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[test]
fn where_results_go_nowhere_else_a_closed_stdout_ends_the_consumer_with_an_error() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut command = consumer(&cluster);
    command.env("FMNIST_KAFKA__RESULTS_TOPIC", "null");
    let mut consumer = Program::start(&mut command);
    send(&servers, &[RANGE]);
    assert!(consumer.printed().ends_with("] Model Inference [0 - 2] (synthetic)"));
    consumer.close_stdout();
    send(&servers, &[RANGE]);
    let line = consumer.logged("stdout is closed, and results go nowhere else");
    assert!(line.starts_with("error: "), "{line}");
    assert_eq!(consumer.code(), Some(1));
    assert!(answered(&servers).is_empty());
}

#[test]
fn the_consoles_times_are_those_of_tz_and_an_unknown_zone_is_named() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut command = consumer(&cluster);
    let mut consumer = Program::start(command.env("TZ", "Atlantis/Capital"));
    let line = consumer.logged("there is no such time zone");
    assert!(line.contains("Atlantis/Capital"), "{line}");
    assert_eq!(consumer.end("-TERM"), Some(0));

    // Half a day apart: no minute is the same there.
    let mut hours = ["Etc/GMT-6", "Etc/GMT+6"].map(|zone| {
        let mut consumer = Program::start(command.env("TZ", zone));
        send(&servers, &[RANGE]);
        let line = consumer.printed();
        assert_eq!(consumer.end("-TERM"), Some(0));
        line[12..14].parse::<i32>().unwrap()
    });
    hours.sort_unstable();
    assert!((11..=13).contains(&(hours[1] - hours[0])), "{hours:?}");
}
