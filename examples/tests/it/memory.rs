//! What each program is promised to bear at the memory limit that the Kubernetes base gives it: above it
//! the kernel kills the program, and the test with it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use flate2::{Compression, write::ZlibEncoder};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use tempfile::TempDir;
use test_kit::{Program, example, get};

use crate::limit::MemoryLimit;

const IMAGES: usize = 10_000;

fn cluster(partitions: i32) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("INFERENCE", partitions, 1).unwrap();
    for topic in ["INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster
}

fn producer(cluster: &MockCluster<'_, DefaultProducerContext>) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("queue.buffering.max.kbytes", "2000000")
        .create()
        .unwrap()
}

/// Official test files of blank images.
fn test_files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let count = (IMAGES as u32).to_be_bytes();
    let mut images = [&[0, 0, 8, 3], &count[..], &[0, 0, 0, 28, 0, 0, 0, 28]].concat();
    images.resize(16 + IMAGES * 784, 0);
    let mut labels = [&[0, 0, 8, 1], &count[..]].concat();
    labels.resize(8 + IMAGES, 0);
    fs::write(folder.path().join("t10k-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.path().join("t10k-labels-idx1-ubyte"), labels).unwrap();
    folder
}

/// A consumer under the limit, and where its metrics are.
fn consumer(
    limit: &MemoryLimit,
    cluster: &MockCluster<'_, DefaultProducerContext>,
    variables: &[(&str, &str)],
) -> (Program, String) {
    let mut command = example("kafka_consumer");
    command
        .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap_servers())
        .env("FMNIST_SERVER__HEALTH_PORT", "0")
        .envs(variables.iter().copied());
    let mut consumer = Program::start(&mut limit.apply(&command));
    let line = consumer.logged("probes and metrics on http://");
    let address = line.trim().rsplit('/').next().unwrap().to_owned();
    consumer.logged("listening on topic INFERENCE");
    (consumer, address)
}

fn demo(limit: &MemoryLimit) -> (Program, String) {
    let mut demo = Program::start(&mut limit.apply(example("demo").args(["--port", "0"])));
    let line = demo.logged("Open http://");
    let address = line.split(['/', ',']).nth(2).unwrap().to_owned();
    (demo, address)
}

/// Reads what is printed of `messages` messages, and waits until that many have their end.
fn all_settled(consumer: &mut Program, address: &str, messages: usize) {
    (0..2 * messages).for_each(|_| drop(consumer.printed()));
    let counted = |line: &str| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    let settled = |text: &str| -> usize {
        text.lines().filter(|l| l.starts_with("fmnist_messages_settled_total")).map(counted).sum()
    };
    while settled(&get(address, "/metrics").1) < messages {}
}

fn post(address: &str, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n"
    )
    .unwrap();
    // A server that refuses closes before it has read all.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer[..answer.len().min(400)]).into_owned()
}

#[test]
fn large_keys_and_headers_around_small_payloads_stay_within_the_shipped_limit() {
    const PARTITIONS: i32 = 120;
    const EACH: usize = 5;
    let cluster = cluster(PARTITIONS);
    let producer = producer(&cluster);
    let large = vec![b'x'; 400_000];
    for partition in (0..PARTITIONS).flat_map(|partition| [partition; EACH]) {
        let header = Header { key: "large", value: Some(&large) };
        let record = BaseRecord::to("INFERENCE")
            .partition(partition)
            .key(&large)
            .headers(OwnedHeaders::new().insert(header))
            .payload(r#"{"start_idx": 0, "end_idx": 1}"#);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let limit = MemoryLimit::new();
    let (mut consumer, address) = consumer(&limit, &cluster, &[]);
    all_settled(&mut consumer, &address, PARTITIONS as usize * EACH);
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[test]
fn a_backlog_of_large_ranges_is_answered_first_come_first_served_within_the_shipped_limit() {
    let cluster = cluster(1);
    let producer = producer(&cluster);
    for _ in 0..2_048 {
        let payload = format!(r#"{{"start_idx": 0, "end_idx": {IMAGES}}}"#);
        producer.send(BaseRecord::<(), _>::to("INFERENCE").payload(&payload)).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let (limit, data) = (MemoryLimit::new(), test_files());
    let folder = data.path().to_str().unwrap();
    let (mut consumer, address) = consumer(&limit, &cluster, &[("FMNIST_DATA", folder)]);
    for _ in 0..8 {
        assert!(consumer.printed().contains("Model Inference [0 - 10000]"));
        assert_eq!(consumer.printed().split(',').count(), IMAGES);
    }
    assert_eq!(get(&address, "/livez").0, 200);
    // Far more is in flight than a drain has time for: the rest is delivered again, and that is said.
    assert_eq!(consumer.end("-TERM"), Some(1));
}

#[test]
fn ranges_of_400000_predictions_in_a_database_stay_within_the_shipped_limit() {
    let cluster = cluster(4);
    let producer = producer(&cluster);
    for partition in (0..4).flat_map(|partition| [partition; 10]) {
        let payload = format!(r#"{{"start_idx": 0, "end_idx": {IMAGES}}}"#);
        let record = BaseRecord::<(), _>::to("INFERENCE").partition(partition).payload(&payload);
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let (limit, data) = (MemoryLimit::new(), test_files());
    let url = format!("sqlite:{}", data.path().join("results.db").display());
    let variables =
        [("FMNIST_DATA", data.path().to_str().unwrap()), ("FMNIST_DATABASE__URL", &url)];
    let (mut consumer, address) = consumer(&limit, &cluster, &variables);
    all_settled(&mut consumer, &address, 40);
    assert_eq!(consumer.end("-TERM"), Some(0));
}

/// 7071×7071 pixels of 16-bit RGBA, all zero: 400 MB in 390 kB.
fn picture_bomb() -> Vec<u8> {
    const SIDE: u32 = 7_071;
    let mut data = ZlibEncoder::new(Vec::new(), Compression::best());
    let row = vec![0; 1 + SIDE as usize * 8];
    (0..SIDE).for_each(|_| data.write_all(&row).unwrap());
    let header = [&SIDE.to_be_bytes()[..], &SIDE.to_be_bytes(), &[16, 6, 0, 0, 0]].concat();
    // Turned by 90 degrees, which would take a second copy.
    let orientation = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    let chunks: [(&[u8; 4], &[u8]); 4] = [
        (b"IHDR", &header),
        (b"eXIf", orientation),
        (b"IDAT", &data.finish().unwrap()),
        (b"IEND", b""),
    ];
    for (name, content) in chunks {
        let mut checksum = flate2::Crc::new();
        checksum.update(name);
        checksum.update(content);
        picture.extend((content.len() as u32).to_be_bytes());
        picture.extend([name, content].concat());
        picture.extend(checksum.sum().to_be_bytes());
    }
    picture
}

#[test]
fn a_picture_that_unpacks_to_400_megabytes_stays_within_the_shipped_limit() {
    let limit = MemoryLimit::new();
    let (mut demo, address) = demo(&limit);
    let bomb = picture_bomb();
    let uploads: Vec<_> = (0..4)
        .map(|_| {
            let (address, bomb) = (address.clone(), bomb.clone());
            std::thread::spawn(move || {
                post(&address, "/classify", "content-type: image/png\r\n", &bomb)
            })
        })
        .collect();
    for upload in uploads {
        assert!(upload.join().unwrap().starts_with("HTTP/1.1 "), "no answer");
    }
    assert_eq!(get(&address, "/livez").0, 200);
    assert_eq!(demo.end("-TERM"), Some(0));
}

#[test]
fn an_output_that_is_asked_for_2000_times_is_refused_within_the_shipped_limit() {
    let limit = MemoryLimit::new();
    let (mut demo, address) = demo(&limit);
    let outputs = vec![r#"{"name":"probabilities"}"#; 2_000].join(",");
    let request = format!(
        r#"{{"inputs":[{{"name":"image","shape":[1000,784],"datatype":"UINT8","parameters":{{"binary_data_size":784000}}}}],"outputs":[{outputs}]}}"#
    );
    let length = format!(
        "inference-header-content-length: {}\r\ncontent-type: application/octet-stream\r\n",
        request.len()
    );
    let body = [request.into_bytes(), vec![0; 784_000]].concat();
    let answer = post(&address, "/v2/models/base/infer", &length, &body);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(demo.end("-TERM"), Some(0));
}

#[test]
fn readers_that_read_nothing_stay_within_the_shipped_limit() {
    let limit = MemoryLimit::new();
    let (mut demo, address) = demo(&limit);
    let stalled: Vec<_> = (0..400)
        .filter_map(|number| {
            let mut stream = TcpStream::connect(&address).ok()?;
            let path = ["/results/stream", "/results", "/metrics", "/"][number % 4];
            for _ in 0..50 {
                // Where the server reads no more, neither does this write.
                stream.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").ok()?;
            }
            Some(stream)
        })
        .collect();
    assert_eq!(get(&address, "/livez").0, 200);
    drop(stalled);
    assert_eq!(demo.end("-TERM"), Some(0));
}
