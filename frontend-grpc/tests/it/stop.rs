//! How it starts and ends.

use std::sync::Arc;

use fmnist_core::{Supervisor, testing::Commanded};
use frontend_actix::{Frontend, ServerConfig};
use frontend_grpc::{Code, wire::ModelInferResponse};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    PATIENCE,
    client::Client,
    models::{INFER, request, sneakers},
    served, settings,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_is_in_flight_and_lets_nobody_else_in() {
    let model = Commanded::new(sneakers());
    let pause = model.pause();
    let running = served(settings(), Arc::new(model.clone()));
    let grpc = running.grpc_address().unwrap();
    let client = Client::connect(grpc).await;
    let asks = client.clone();
    let in_flight = tokio::spawn(async move {
        asks.call::<ModelInferResponse>(INFER, &request("sneakers", &[1])).await
    });
    timeout(PATIENCE, model.called(1)).await.unwrap();
    let stopped = tokio::spawn(running.stop());
    while TcpStream::connect(grpc).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopped.is_finished(), "it waits for the answer");
    drop(pause);
    let answer = in_flight.await.unwrap().unwrap();
    assert_eq!(answer.outputs[1].contents.as_ref().unwrap().int64_contents, [7]);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_busy_port_is_refused_with_the_key_that_chooses_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = ServerConfig { grpc_port: Some(port), ..settings() };
    let started = Frontend::new(settings).with_model(sneakers()).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("server.grpc_port"), "{error}");
}

#[tokio::test]
async fn without_the_key_nothing_is_served_and_a_stop_ends_all_parts() {
    let parts = Supervisor::new();
    let settings = ServerConfig { grpc_port: None, ..settings() };
    let running = Frontend::new(settings).with_model(sneakers()).start(&parts).unwrap();
    assert_eq!(running.grpc_address(), None);
    running.stop().await;

    let parts = Supervisor::new();
    let running = Frontend::new(crate::settings()).with_model(sneakers()).start(&parts).unwrap();
    let client = Client::connect(running.grpc_address().unwrap()).await;
    assert_eq!(client.refused(INFER, &request("sneakers", &[1])).await.code(), Code::Ok);
    assert_eq!(parts.failure(), None);
    running.stop().await;
    assert_eq!(parts.ended().await, None);
}
