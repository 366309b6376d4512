//! The server beside the HTTP API of one process, over real sockets.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod client;
mod health;
mod inference;
mod limits;
mod messages;
mod metrics;
mod models;
mod stop;
mod wire;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use fmnist_core::{Infer, Supervisor};
use frontend_actix::{Frontend, RunningFrontend, ServerConfig};
use serde_json::Value;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef";

fn settings() -> ServerConfig {
    ServerConfig { port: 0, grpc_port: Some(0), ..ServerConfig::default() }
}

fn served(settings: ServerConfig, model: Arc<dyn Infer>) -> RunningFrontend {
    Frontend::new(settings).with_model(model).start(&Supervisor::new()).unwrap()
}

/// What the HTTP API answers: the head, and the body.
fn http(address: SocketAddr, line: &str, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{head}\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// The status, and the JSON.
fn json(address: SocketAddr, line: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let (head, body) = http(address, line, "content-type: application/json\r\n", &body);
    (head[9..12].parse().unwrap(), serde_json::from_slice(&body).unwrap())
}
