//! The program as a process, against librdkafka's mock cluster.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

// By its path: fuzz/ is a workspace of its own, so that this one is compiled without the fuzzer.
#[path = "../../../fuzz/src/configuration.rs"]
#[expect(unreachable_pub, reason = "a fuzz target has it, too")]
mod fuzzed;

use std::{fs, path::Path, process::Command};

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use test_kit::{Program, get};

const RANGE: &str = "/kafka/push-to-consumer?start_idx=0&end_idx=5";

/// The program, listening.
struct Page {
    program: Program,
    address: String,
}

impl Page {
    fn start(bootstrap_servers: &str) -> Self {
        let mut program = Program::start(command(bootstrap_servers).args(["--port", "0"]));
        let line = program.logged("listening on http://");
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { program, address }
    }

    fn get(&self, path: &str) -> (u16, String) {
        get(&self.address, path)
    }
}

fn command(bootstrap_servers: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontend-actix"));
    command
        .env_clear()
        .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
        .env("FMNIST_KAFKA__RESULTS_TOPIC", "RESULTS")
        // An empty folder's usual places have no data set, so the images are drawn.
        .current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["INFERENCE", "RESULTS"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster
}

#[test]
fn a_range_is_answered_once_kafka_has_it() {
    let cluster = cluster();
    let page = Page::start(&cluster.bootstrap_servers());
    let (status, body) = page.get(RANGE);
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"message_queue":"kafka","start_idx":0,"end_idx":5}"#)
    );

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut partitions = rdkafka::TopicPartitionList::new();
    partitions.add_partition_offset("INFERENCE", 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let message = consumer.iter().find_map(Result::ok).unwrap();
    assert_eq!(message.payload(), Some(&br#"{"start_idx": 0, "end_idx": 5}"#[..]));
    assert_eq!(page.get("/readyz").0, 200);
}

#[test]
fn a_kafka_that_is_away_is_a_503_and_the_page_stays_up() {
    // A port that was just free and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let page = Page::start(&free.to_string());
    let (status, body) = page.get(RANGE);
    assert_eq!(status, 503);
    assert_eq!(body, r#"{"error":"kafka did not confirm; the message may not have arrived"}"#);
    assert_eq!(page.get("/readyz").0, 503);
    assert_eq!(page.get("/livez").0, 200);
    assert_eq!(page.get("/").0, 200);
}

#[test]
fn a_busy_port_ends_the_program_with_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = command("127.0.0.1:1").args(["--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("port {port} on 127.0.0.1 is in use")), "{stderr}");
    assert!(stderr.contains("--port"), "{stderr}");
}

#[test]
fn a_misspelt_key_ends_the_program_with_a_suggestion() {
    let output = command("x").env("FMNIST_SERVER__PROT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("did you mean \"server.port\"?"), "{stderr}");
}

#[test]
fn the_configuration_is_printed_and_no_broker_is_touched() {
    let output = command("127.0.0.1:1").args(["--print-config", "--port", "7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("\"results_topic\": \"RESULTS\""), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("server.port = 7  # --port\n"), "{stderr}");
}

#[test]
fn a_check_looks_for_the_topics_of_the_page_alone() {
    let cluster = cluster();
    // The page writes no dead letters.
    let error = rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error("INFERENCE-DEAD-LETTERS", error).unwrap();
    let servers = cluster.bootstrap_servers();
    let output = command(&servers).arg("--check").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(&format!("Kafka at {servers}: topics INFERENCE, RESULTS")), "{stdout}");

    cluster.topic_error("RESULTS", error).unwrap();
    let output = command(&servers).arg("--check").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: topic RESULTS does not exist"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_not_swallowed() {
    use std::{io::Write, net::TcpStream};
    let cluster = cluster();
    for signal in ["-INT", "-TERM"] {
        let mut page = Page::start(&cluster.bootstrap_servers());
        let mut stream = TcpStream::connect(&page.address).unwrap();
        let host = &page.address;
        write!(stream, "GET /results/stream HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        assert_eq!(page.program.end(signal), Some(0), "{signal}");
    }
}

#[test]
fn the_fuzz_targets_corpus_of_configurations_is_loaded_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/configuration");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "only {} files in {}", files.len(), folder.display());
    files.iter().for_each(|file| fuzzed::configuration(&fs::read(file).unwrap()));
}
