//! What is bounded, and who is let in: with the HTTP API, as one.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use fmnist_core::{Image, Supervisor, testing::Commanded};
use frontend_actix::{Frontend, ServerConfig};
use frontend_grpc::{
    Code,
    wire::{
        ModelInferRequest, ModelInferResponse, ModelReadyRequest, ModelReadyResponse,
        ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerReadyRequest,
        ServerReadyResponse,
    },
};
use futures_util::{StreamExt, stream};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    PATIENCE, TOKEN,
    client::{Answered, Client, framed},
    json,
    models::{INFER, input, request, sneakers},
    served, settings,
};

const LIVE: &str = "/inference.GRPCInferenceService/ServerLive";
const READY: &str = "/inference.GRPCInferenceService/ServerReady";
const MODEL_READY: &str = "/inference.GRPCInferenceService/ModelReady";
const METADATA: &str = "/inference.GRPCInferenceService/ServerMetadata";

/// An infer over HTTP: the status, and the words of a refusal.
fn http_infer(address: SocketAddr) -> (u16, String) {
    let input = serde_json::json!({ "name": "image", "datatype": "UINT8", "shape": [1, 784],
        "data": vec![1; Image::PIXELS] });
    let body = serde_json::json!({ "inputs": [input] });
    let (status, body) = json(address, "POST /v2/models/sneakers/infer", &body);
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn with_a_token_only_its_holders_are_answered_but_for_probes() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let ready = ModelReadyRequest { name: "sneakers".to_owned(), ..ModelReadyRequest::default() };
    let (_, told) = http_infer(running.address());
    for shown in
        [None, Some("Bearer 0123456789abcdee"), Some("Basic 0123456789abcdef"), Some(TOKEN)]
    {
        let client = match shown {
            Some(shown) => client.clone().with("authorization", shown),
            None => client.clone(),
        };
        let refused = [
            client.refused(INFER, &request("sneakers", &[1])).await,
            client.refused(MODEL_READY, &ready).await,
            client.refused(METADATA, &ServerMetadataRequest {}).await,
            client.refused("/grpc.health.v1.Health/Watch", &ServerLiveRequest {}).await,
            client
                .refused("/inference.GRPCInferenceService/ModelLoad", &ServerLiveRequest {})
                .await,
        ];
        for status in refused {
            assert_eq!((status.code(), status.message()), (Code::Unauthenticated, &*told));
        }
    }
    let live: ServerLiveResponse = client.call(LIVE, &ServerLiveRequest {}).await.unwrap();
    let is_ready: ServerReadyResponse = client.call(READY, &ServerReadyRequest {}).await.unwrap();
    assert!(live.live && is_ready.ready);

    let client = client.with("authorization", &format!("bearer {TOKEN}"));
    let is_ready: ModelReadyResponse = client.call(MODEL_READY, &ready).await.unwrap();
    assert!(is_ready.ready);
    let answer: ModelInferResponse = client.call(INFER, &request("sneakers", &[1])).await.unwrap();
    assert_eq!(answer.model_version, "1.0");
    running.stop().await;
}

#[tokio::test]
async fn calls_and_requests_have_one_rate_and_probes_none() {
    let settings = ServerConfig { max_requests_per_second: 1, ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    // One a second is allowed: of three in a row one is refused, whichever way it comes.
    let status = loop {
        let (http, _) = http_infer(running.address());
        assert!(http == 200 || http == 429, "{http}");
        let status = client.refused(INFER, &request("sneakers", &[1])).await;
        if http == 200 && status.code() != Code::Ok {
            break status;
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "more than 1 requests a second; try again later");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    for _ in 0..5 {
        let live: ServerLiveResponse = client.call(LIVE, &ServerLiveRequest {}).await.unwrap();
        assert!(live.live);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_before_it_is_received() {
    let settings = ServerConfig { max_body_bytes: 1_000, ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let (_, told) = http_infer(running.address());
    assert_eq!(told, "the body is larger than 1000 bytes");
    // Its client says how long it is, and no more.
    let status = client.stall(INFER, framed(0, &[0; 1_001]).slice(..5)).await.status;
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, &*told));
    let asked = ModelInferRequest {
        inputs: vec![input("UINT8", &[1, 784])],
        raw_input_contents: vec![vec![1; 784].into()],
        ..request("sneakers", &[])
    };
    let answer: ModelInferResponse = client.call(INFER, &asked).await.unwrap();
    assert_eq!(answer.raw_output_contents.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so() {
    let settings = ServerConfig { read_timeout_ms: 50, ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let status = client.stall(INFER, framed(0, &[0; 100]).slice(..50)).await.status;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "the body did not come within 50ms");
    running.stop().await;
}

#[tokio::test]
async fn messages_that_have_no_room_in_memory_are_unavailable() {
    let good = framed(0, &request("sneakers", &[1]).encode_to_vec());
    let settings = ServerConfig { max_bodies_bytes: good.len() + 100, ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let (most, last) = (good.slice(..good.len() - 1), good.slice(good.len() - 1..));
    let hold = || {
        let (end, ended) = oneshot::channel();
        let last = stream::once(async move { ended.await.unwrap() });
        let (client, pieces) = (client.clone(), stream::iter([most.clone()]).chain(last));
        (end, tokio::spawn(async move { client.begin(INFER, pieces).await }))
    };
    // Which of two is read first is the server's choice.
    let (mut end, mut held) = hold();
    let status = loop {
        // By the second answer the server has seen what was sent before the first.
        for _ in 0..2 {
            let _: ServerLiveResponse = client.call(LIVE, &ServerLiveRequest {}).await.unwrap();
        }
        let status = client.send(INFER, [good.clone()]).await.status;
        if status.code() != Code::Ok {
            break status;
        }
        if held.is_finished() {
            (end, held) = hold();
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "too many bodies are read at once; try again later");
    end.send(last).unwrap();
    let answered = Answered::read(held.await.unwrap().unwrap()).await;
    assert_eq!(answered.status.code(), Code::Ok);
    assert_eq!(client.send(INFER, [good]).await.status.code(), Code::Ok);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_requests_wait_in_one_line_and_a_deadline_ends_the_wait() {
    let model = Commanded::new(sneakers());
    let pause = model.pause();
    let settings = ServerConfig {
        max_inferences: Some(1.try_into().unwrap()),
        max_waiting: 1,
        max_wait_ms: 60_000,
        ..settings()
    };
    let running = served(settings, Arc::new(model.clone()));
    let (address, grpc) = (running.address(), running.grpc_address().unwrap());
    let client = Client::connect(grpc).await;
    let asked = request("sneakers", &[1]);

    // Two places: one over HTTP, and one of a caller who does not wait for the answer.
    let (answered, answers) = sync_channel(1);
    let first = std::thread::spawn(move || answered.send(http_infer(address)).unwrap());
    timeout(PATIENCE, model.called(1)).await.unwrap();
    let hurried = client.clone().with("grpc-timeout", "50m");
    let status = hurried.refused(INFER, &asked).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "no answer within this call's deadline of 50ms");
    // A slow machine may have ended it before it had a place.
    while model.calls().len() < 2 {
        hurried.refused(INFER, &asked).await;
    }

    // Its place is taken until its thread is free.
    let status = client.refused(INFER, &asked).await;
    assert_eq!(status.code(), Code::Unavailable);
    let (http, told) = http_infer(address);
    assert_eq!((http, &*told), (503, status.message()));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    drop(pause);
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap().0, 200);
    first.join().unwrap();

    let wrong = client.clone().with("grpc-timeout", "soon").refused(INFER, &asked).await;
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let expected =
        "expected grpc-timeout as at most eight digits and one of HMSmun, found \"soon\"";
    assert_eq!(wrong.message(), expected);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off_and_its_room_is_free() {
    let many = request("sneakers", &[1; 50]);
    let message = framed(0, &many.encode_to_vec());
    let settings = ServerConfig { write_timeout_ms: 100, ..settings() };
    let running = served(settings, sneakers());
    let grpc = running.grpc_address().unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // Nothing may be sent to it before it takes something.
    builder.initial_stream_window_size(0);
    let mut stalled = Client::connect_with(grpc, &mut builder).await;
    let response = stalled.begin(INFER, stream::iter([message.clone()])).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, stalled.is_gone()).await.unwrap());
    drop(response);
    let client = Client::connect(grpc).await;
    assert_eq!(client.send(INFER, [message]).await.status.code(), Code::Ok);
    running.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let settings = ServerConfig { max_connections: 1, ..settings() };
    let running = served(settings, sneakers());
    let grpc = running.grpc_address().unwrap();
    let first = Client::connect(grpc).await;
    let live: ServerLiveResponse = first.call(LIVE, &ServerLiveRequest {}).await.unwrap();
    assert!(live.live);
    let second = Client::connect(grpc).await;
    let mut waiting = tokio::spawn(async move {
        second.call::<ServerLiveResponse>(LIVE, &ServerLiveRequest {}).await
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "nobody has time");
    drop(first);
    assert!(waiting.await.unwrap().unwrap().live);
    running.stop().await;
}

#[tokio::test]
async fn without_a_model_it_is_not_ready_and_says_why() {
    let running = Frontend::new(settings()).start(&Supervisor::new()).unwrap();
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let is_ready: ServerReadyResponse = client.call(READY, &ServerReadyRequest {}).await.unwrap();
    assert!(!is_ready.ready);
    let status = client.refused(INFER, &request("sneakers", &[1])).await;
    let (_, told) = http_infer(running.address());
    assert_eq!((status.code(), status.message()), (Code::Unavailable, &*told));
    assert_eq!(told, "no model is loaded in this process");
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let running = served(settings(), sneakers());
    let grpc = running.grpc_address().unwrap();
    let client = Client::connect(grpc).await;
    let status =
        client.refused("/inference.GRPCInferenceService/ModelLoad", &ServerLiveRequest {}).await;
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "there is nothing here"));
    let page = client.clone().with("content-type", "text/html");
    let response = page.begin(LIVE, stream::iter([framed(0, b"")])).await.unwrap();
    assert_eq!(response.status(), 415);
    // HTTP/1.1 has a port of its own.
    let mut stream = std::net::TcpStream::connect(grpc).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // The server may end the connection with some of it unread.
        drop(stream.read_to_end(&mut answer));
        answer
    });
    assert!(!answer.await.unwrap().starts_with(b"HTTP/1"));
    running.stop().await;
}
