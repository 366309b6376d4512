//! Readers that stop reading, over real sockets.

use std::net::SocketAddr;

use super::{
    limits::{Client, PATIENCE, ask, served_with, until_status},
    *,
};

/// A result that is larger than what the system keeps for a connection, ten of them by far.
fn large(id: usize) -> Arc<ResultRecord> {
    record(&id.to_string(), &"x".repeat(1 << 20))
}

fn settings() -> ServerConfig {
    ServerConfig { write_timeout_ms: 2_000, ..ServerConfig::default() }
}

/// Asks, and reads no more than that the answer has begun.
fn stall(address: SocketAddr, line: &str) -> Client {
    let client = Client::send(address, line, &[], 0);
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client.0.peek(&mut [0]).unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_answer_is_cut_off_and_its_room_is_free() {
    const LINE: &str = "GET /results?limit=20";
    let (results, _) = broadcast::channel(64);
    // Room for one answer.
    let settings = ServerConfig { max_bodies_bytes: 30 << 20, ..settings() };
    let running = served_with(settings, sneakers(), results.clone());
    let address = running.address();
    for id in 0..20 {
        results.send(large(id)).unwrap();
    }
    let kept = || ask(address, "GET /results?limit=1").1.contains(r#""total":20"#);
    while !kept() {
        tokio::task::yield_now().await;
    }
    // It may be cut off before the next one asks.
    let refused = || {
        let _stalled = stall(address, LINE);
        ask(address, LINE)
    };
    let text = until_status(503, refused);
    assert!(text.contains("too many answers wait for their readers"), "{text}");
    let text = until_status(200, || ask(address, LINE));
    assert!(text.len() > 20 << 20, "{}", text.len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_does_not_read_its_stream_is_cut_off_and_its_place_is_free() {
    let settings = ServerConfig { max_streams: 1, ..settings() };
    let (results, _) = broadcast::channel(64);
    let running = served_with(settings, sneakers(), results.clone());
    let address = running.address();
    let stalled = stall(address, "GET /results/stream");
    until_status(200, || {
        drop(results.send(large(0)));
        let client = stall(address, "GET /results/stream");
        let mut head = [0; 12];
        client.0.peek(&mut head).unwrap();
        let text = String::from_utf8_lossy(&head).into_owned();
        (text[9..12].parse().ok(), text)
    });
    drop(stalled);
    running.stop().await;
}
