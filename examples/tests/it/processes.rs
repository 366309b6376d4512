use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use serde_json::Value;
use tempfile::TempDir;
use test_kit::{Program, example};

pub(crate) fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["INFERENCE", "INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster
}

pub(crate) fn send(servers: &str, payloads: &[&str]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    for payload in payloads {
        producer.send(BaseRecord::<(), str>::to("INFERENCE").payload(payload)).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
}

fn first_result(servers: &str) -> Value {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset("INFERENCE-RESULTS", 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let message = consumer.iter().find_map(Result::ok).unwrap();
    serde_json::from_slice(message.payload().unwrap()).unwrap()
}

/// Official test files, and no training files, with `images` blank images.
fn test_files_only(images: u8) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut pixels = vec![0, 0, 8, 3, 0, 0, 0, images, 0, 0, 0, 28, 0, 0, 0, 28];
    pixels.resize(16 + usize::from(images) * 784, 0);
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, images];
    labels.resize(8 + usize::from(images), 0);
    let write = |name: &str, bytes: &[u8]| fs::write(Path::new(folder.path()).join(name), bytes);
    write("t10k-images-idx3-ubyte", &pixels).unwrap();
    write("t10k-labels-idx1-ubyte", &labels).unwrap();
    folder
}

#[test]
fn a_range_goes_through_the_demo_from_the_page_to_the_console() {
    let mut demo = Program::start(example("demo").args(["--port", "0"]));
    let line = demo.logged("Open http://");
    let address = line.split(['/', ',']).nth(2).unwrap().to_owned();

    let mut live = BufReader::new(TcpStream::connect(&address).unwrap());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
    write!(live.get_mut(), "{}\r\n", request("/results/stream")).unwrap();
    let mut line = String::new();
    while !line.starts_with(": open") {
        line.clear();
        live.read_line(&mut line).unwrap();
    }

    let mut publishing = TcpStream::connect(&address).unwrap();
    let path = "/kafka/push-to-consumer?start_idx=2&end_idx=5";
    write!(publishing, "{}connection: close\r\n\r\n", request(path)).unwrap();
    let mut answer = String::new();
    publishing.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"{"message_queue":"kafka","start_idx":2,"end_idx":5}"#), "{answer}");

    assert_eq!(demo.printed(), "Sent to consumer - local kafka");
    let line = demo.printed();
    assert!(line.ends_with("] Model Inference [2 - 5] (synthetic)"), "{line}");
    let labels = demo.printed();
    assert_eq!(labels.trim_end_matches(" (synthetic)").split(',').count(), 3, "{labels}");

    let mut event = String::new();
    while !event.starts_with("data: ") {
        event.clear();
        live.read_line(&mut event).unwrap();
    }
    let result: Value = serde_json::from_str(&event[6..]).unwrap();
    assert_eq!((&result["start_idx"], &result["end_idx"]), (&2.into(), &5.into()));
    let labels_of_event: Vec<&str> = result["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prediction| fmnist_core::label::console_label(prediction["label"].as_str().unwrap()))
        .collect();
    assert_eq!(labels, format!("{} (synthetic)", labels_of_event.join(",")));

    let mut publishing = TcpStream::connect(&address).unwrap();
    let path = "/pubsub/push-to-consumer?start_idx=2&end_idx=5";
    write!(publishing, "{}connection: close\r\n\r\n", request(path)).unwrap();
    publishing.read_to_string(&mut answer).unwrap();
    let expected = r#"{"message_queue":"pubsub","start_idx":"2","end_idx":"5"}"#;
    assert!(answer.ends_with(expected), "{answer}");
    // The consumer may answer before the publisher hears that its message was taken.
    let printed = [(); 4].map(|()| demo.printed()).join("\n");
    assert!(printed.contains("1\nSent to consumer - cloud pub sub"), "{printed}");
    let answered = format!("] Model Inference [2 - 5] (synthetic)\n{labels}");
    assert!(printed.contains(&answered), "{printed}");
    assert_eq!(demo.end("-INT"), Some(0));
}

#[test]
fn consumers_do_not_load_the_training_set() {
    let (cluster, data) = (cluster(), test_files_only(3));
    let servers = cluster.bootstrap_servers();
    let mut consumer = Program::start(
        example("kafka_consumer")
            .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers)
            .env("FMNIST_DATA", data.path()),
    );
    consumer.logged("listening on topic INFERENCE");
    send(&servers, &[r#"{"start_idx": 0, "end_idx": 3}"#]);
    let line = consumer.printed();
    assert!(line.ends_with("] Model Inference [0 - 3]"), "{line}");
    assert_eq!(consumer.printed().split(',').count(), 3);
    assert_eq!(first_result(&servers)["predictions"].as_array().unwrap().len(), 3);
}

#[test]
fn bad_json_does_not_kill_the_consumer() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    send(&servers, &["{", "[]", r#"{"start_idx": 5}"#, r#"{"start_idx": 0, "end_idx": 2}"#]);
    let mut consumer =
        Program::start(example("kafka_consumer").env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &servers));
    let line = consumer.printed();
    assert!(line.ends_with("] Model Inference [0 - 2] (synthetic)"), "{line}");
    assert_eq!(first_result(&servers)["id"], "INFERENCE/0/3");
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[test]
fn ctrl_c_is_not_swallowed_by_a_consumer() {
    let cluster = cluster();
    for signal in ["-INT", "-TERM"] {
        let mut consumer = Program::start(
            example("kafka_consumer")
                .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap_servers()),
        );
        consumer.logged("listening on topic INFERENCE");
        assert_eq!(consumer.end(signal), Some(0), "{signal}");
    }
}

#[test]
fn a_consumer_that_cannot_start_says_why_and_exits_with_1() {
    let cluster = cluster();
    let cases = [
        ("kafka_consumer", "FMNIST_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("kafka_consumer", "FMNIST_MODEL__MODEL_NAME", "no-such-model"),
        ("kafka_consumer", "FMNIST_DATA", "/no/such/folder"),
        ("pubsub_consumer", "FMNIST_PUBSUB__KEY_FILE", "pubsub.project_id"),
    ];
    for (name, variable, expected) in cases {
        let mut command = example(name);
        command.env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap_servers());
        let output = command.env(variable, expected).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: "));
        assert!(error.is_some_and(|error| error.contains(expected)), "{name}: {stderr}");
    }
}
