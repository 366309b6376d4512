//! What is bounded, over real sockets.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::sync_channel,
    time::Instant,
};

use super::*;
use fmnist_core::{Batcher, Infer, pipeline::BatchConfig, testing::Commanded};
use tokio::time::timeout;

use crate::RunningFrontend;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const LIVE: &str = "GET /livez";
const PUSH: &str = "GET /kafka/push-to-consumer?start_idx=0&end_idx=5";
const RAW: [u8; Image::PIXELS] = [1; Image::PIXELS];

/// On a free port, with the model and a broker.
fn served(settings: ServerConfig, model: Arc<dyn Infer>) -> RunningFrontend {
    let (results, _) = broadcast::channel(8);
    served_with(settings, model, results)
}

pub(super) fn served_with(
    settings: ServerConfig,
    model: Arc<dyn Infer>,
    results: broadcast::Sender<Arc<ResultRecord>>,
) -> RunningFrontend {
    let kafka = MemoryBroker::new("INFERENCE");
    Frontend::new(ServerConfig { port: 0, ..settings })
        .with_broker(Producer::new("kafka", kafka.publisher()))
        .with_model(model)
        .with_test_set(&test_set())
        .with_results(results)
        .start(&Supervisor::new())
        .unwrap()
}

/// A connection with one request.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    /// Sends the head of `line` and the first `sent` bytes of a body.
    pub(super) fn send(address: SocketAddr, line: &str, body: &[u8], sent: usize) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body[..sent]).unwrap();
        Self(stream)
    }

    /// The status and all that was sent; no status where the connection was cut.
    fn answer(mut self) -> (Option<u16>, String) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            Ok(_) | Err(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text.split(' ').nth(1).and_then(|status| status.parse().ok()), text)
    }
}

pub(super) fn ask(address: SocketAddr, line: &str) -> (Option<u16>, String) {
    Client::send(address, line, &[], 0).answer()
}

fn classify(address: SocketAddr) -> (Option<u16>, String) {
    Client::send(address, "POST /classify", &RAW, RAW.len()).answer()
}

/// Asks again until the status is the expected.
pub(super) fn until_status(expected: u16, ask: impl Fn() -> (Option<u16>, String)) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, text) = ask();
        if status == Some(expected) {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_rate_are_a_429_that_says_when_to_come_again() {
    let settings = ServerConfig { max_requests_per_second: 1, ..ServerConfig::default() };
    let running = served(settings, sneakers());
    let address = running.address();
    assert_eq!(ask(address, PUSH).0, Some(200));
    for ask in [|a| ask(a, PUSH), |a| ask(a, "POST /kafka/images"), classify] {
        let text = until_status(429, || ask(address));
        assert!(text.contains("retry-after: 1\r\n"), "{text}");
        assert!(text.contains("more than 1 requests a second"), "{text}");
    }
    // What costs little is not counted.
    for line in [LIVE, "GET /", "GET /results", "GET /v2"] {
        assert_eq!(ask(address, line).0, Some(200), "{line}");
    }
    running.stop().await;
}

fn one_at_a_time() -> ServerConfig {
    ServerConfig { max_inferences: Some(1.try_into().unwrap()), ..ServerConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_classifications_than_allowed_are_a_503_until_one_is_done() {
    let model = Commanded::new(sneakers());
    let pause = model.pause();
    let settings = ServerConfig { max_waiting: 0, ..one_at_a_time() };
    let running = served(settings, Arc::new(model.clone()));
    let address = running.address();
    let first = Client::send(address, "POST /classify", &RAW, RAW.len());
    timeout(PATIENCE, model.called(1)).await.unwrap();
    for line in ["POST /classify", "POST /v2/models/sneakers/infer", "POST /kafka/images"] {
        let (status, text) = Client::send(address, line, &RAW, RAW.len()).answer();
        assert_eq!(status, Some(503), "{line}");
        assert!(text.contains("retry-after: 1\r\n"), "{text}");
    }
    assert_eq!(ask(address, PUSH).0, Some(200));
    drop(pause);
    assert_eq!(first.answer().0, Some(200));
    assert_eq!(classify(address).0, Some(200));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_sending_is_a_408() {
    let settings = ServerConfig { read_timeout_ms: 200, ..ServerConfig::default() };
    let running = served(settings, sneakers());
    let address = running.address();
    for line in ["POST /classify", "POST /kafka/images", "POST /v2/models/sneakers/infer"] {
        let (status, text) = Client::send(address, line, &RAW, 10).answer();
        assert_eq!(status, Some(408), "{line}: {text}");
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"POST /classify HTTP/1.1\r\nhost: ").unwrap();
    assert_eq!(Client(stream).answer().0, Some(408));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_beyond_its_limits_is_refused() {
    let running = served(ServerConfig::default(), sneakers());
    let address = running.address();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    let many: String = (0..1_000).map(|n| format!("x{n}: y\r\n")).collect();
    for headers in [long, many] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{PUSH} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        // The server may end the connection before it has read everything.
        drop(stream.write_all(head.as_bytes()));
        let (status, text) = Client(stream).answer();
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{text}");
        assert_eq!(ask(address, LIVE).0, Some(200));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_have_no_room_in_memory_are_a_503() {
    let settings = ServerConfig { max_bodies_bytes: Image::PIXELS + 1, ..ServerConfig::default() };
    let running = served(settings, sneakers());
    let address = running.address();
    let slow = || Client::send(address, "POST /classify", &RAW, RAW.len() - 1);
    let finish = |mut slow: Client| {
        // It may have been refused already.
        drop(slow.0.write_all(&RAW[RAW.len() - 1..]));
        slow.answer().0
    };
    // Which of two is read first is the server's choice.
    let held = loop {
        let held = slow();
        let (status, text) = classify(address);
        if status == Some(503) {
            assert!(text.contains("retry-after: 1\r\n"), "{text}");
            break held;
        }
        finish(held);
    };
    assert_eq!(finish(held), Some(200));
    assert_eq!(classify(address).0, Some(200));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_open_pages_than_allowed_are_a_503_until_one_is_closed() {
    let settings = ServerConfig { max_streams: 1, ..ServerConfig::default() };
    let (results, _) = broadcast::channel(8);
    let running = served_with(settings, sneakers(), results.clone());
    let address = running.address();
    let open = || {
        let mut client = Client::send(address, "GET /results/stream", &[], 0);
        let mut bytes = [0; 4_096];
        let count = client.0.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        (text[9..12].parse::<u16>().ok(), text, client)
    };
    let (status, _, first) = open();
    assert_eq!(status, Some(200));
    let (status, text, _) = open();
    assert_eq!(status, Some(503));
    assert!(text.contains("retry-after: 1\r\n"), "{text}");
    drop(first);
    until_status(200, || {
        // Only what is written tells the server that nobody reads any more.
        drop(results.send(record("INFERENCE/0/1", "Bag")));
        let (status, text, _) = open();
        (status, text)
    });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    // One for each of the two threads that serve.
    let settings = ServerConfig { max_connections: 2, ..ServerConfig::default() };
    let running = served(settings, sneakers());
    let address = running.address();
    let mut open: Vec<Client> =
        (0..2).map(|_| Client::send(address, "POST /classify", &RAW, 10)).collect();
    let mut third = Client::send(address, LIVE, &[], 0);
    third.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = third.0.read(&mut [0]).expect_err("nobody has time");
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()), "{error}");
    third.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first = open.remove(0);
    first.0.write_all(&RAW[10..]).unwrap();
    assert_eq!(first.answer().0, Some(200));
    assert_eq!(third.answer().0, Some(200));
    drop(open);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_requests_as_have_a_place_wait_for_their_answer_and_the_rest_hears_no_at_once() {
    const PLACES: usize = 8;
    let model = Commanded::new(sneakers());
    let pause = model.pause();
    let settings = ServerConfig { max_waiting: PLACES - 1, max_wait_ms: 60_000, ..one_at_a_time() };
    let batcher = Batcher::new(model.clone(), &BatchConfig::default());
    let running = served(settings, Arc::new(batcher));
    let address = running.address();
    let (answered, answers) = sync_channel(PLACES + 4);
    let clients: Vec<_> = (0..PLACES + 4)
        .map(|_| {
            let answered = answered.clone();
            std::thread::spawn(move || answered.send(classify(address).0).unwrap())
        })
        .collect();
    timeout(PATIENCE, model.called(1)).await.unwrap();
    // Nobody is answered before the gate opens but those without a place.
    let refused = [(); 4].map(|()| answers.recv_timeout(PATIENCE).unwrap());
    assert_eq!(refused, [Some(503); 4]);
    drop(pause);
    let accepted = [(); PLACES].map(|()| answers.recv_timeout(PATIENCE).unwrap());
    assert_eq!(accepted, [Some(200); PLACES]);
    clients.into_iter().for_each(|client| client.join().unwrap());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_with_small_loads_are_all_answered() {
    let model = Batcher::new(Classifier::pretrained().unwrap(), &BatchConfig::default());
    // Two cores, as far as turns go.
    let settings = ServerConfig {
        max_inferences: Some(2.try_into().unwrap()),
        max_wait_ms: 60_000,
        ..ServerConfig::default()
    };
    let running = served(settings, Arc::new(model));
    let address = running.address();
    let pixels = vec![1; Image::PIXELS];
    let input = json!({ "name": "image", "datatype": "UINT8", "shape": [64, 784],
        "data": vec![pixels; 64] });
    let body = json!({ "inputs": [input], "outputs": [{ "name": "class" }] }).to_string();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let line = "POST /v2/models/base/infer";
                    let (status, text) =
                        Client::send(address, line, body.as_bytes(), body.len()).answer();
                    assert_eq!(status, Some(200), "{text}");
                }
            });
        }
    });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_of_http_1_0_needs_no_host_and_head_has_no_body() {
    let running = served(ServerConfig::default(), sneakers());
    let address = running.address();
    let raw = |head: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        Client(stream).answer()
    };
    for path in ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(
            raw(&format!("HEAD {path} HTTP/1.0\r\n\r\n")).0,
            raw(&format!("GET {path} HTTP/1.0\r\n\r\n")).0
        );
        assert_ne!(raw(&format!("GET {path} HTTP/1.0\r\n\r\n")).0, Some(403), "{path}");
    }
    assert_eq!(raw("GET /results HTTP/1.0\r\n\r\n").0, Some(403));
    for path in ["/", "/results", "/results/stream", "/assets/page.js"] {
        let (status, text) = ask(address, &format!("HEAD {path}"));
        assert_eq!(status, Some(200), "{path}");
        assert!(text.ends_with("\r\n\r\n"), "{path}: {text}");
    }
    running.stop().await;
}
