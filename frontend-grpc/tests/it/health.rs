//! The standard health service.

use fmnist_core::{Supervisor, transport::memory::MemoryBroker};
use frontend_actix::Frontend;
use frontend_grpc::{
    Code,
    wire::health::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
};
use futures_util::stream;
use http_body_util::BodyExt;
use prost::Message;
use service::Producer;

use crate::{
    client::{Client, framed},
    models::sneakers,
    settings,
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const INFERENCE: &str = "inference.GRPCInferenceService";

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(client: &Client, service: &str) -> ServingStatus {
    let answer: HealthCheckResponse = client.call(CHECK, &about(service)).await.unwrap();
    answer.status()
}

fn broker() -> Producer {
    Producer::new("kafka", MemoryBroker::new("INFERENCE").publisher())
}

#[tokio::test]
async fn the_server_as_a_whole_is_as_readyz_says_and_the_protocol_needs_a_model_alone() {
    let away = || async { Err("away".into()) };
    let (whole, alone) = (Frontend::new(settings()), Frontend::new(settings()));
    let [serving, not_serving] = [ServingStatus::Serving, ServingStatus::NotServing];
    for (frontend, expected) in [
        (whole.with_broker(broker()).with_model(sneakers()), [serving, serving]),
        (
            alone.with_broker(broker().with_probe(away)).with_model(sneakers()),
            [not_serving, serving],
        ),
        (Frontend::new(settings()).with_broker(broker()), [not_serving, not_serving]),
    ] {
        let running = frontend.start(&Supervisor::new()).unwrap();
        let client = Client::connect(running.grpc_address().unwrap()).await;
        let found = [check(&client, "").await, check(&client, INFERENCE).await];
        assert_eq!(found, expected);
        assert_eq!(check(&client, "grpc.health.v1.Health").await, serving);
        let unknown = client.refused(CHECK, &about("shop.Orders")).await;
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(unknown.message().contains(INFERENCE), "{unknown}");
        running.stop().await;
    }
}

#[tokio::test]
async fn who_watches_hears_the_state_and_that_the_server_stops() {
    let frontend = Frontend::new(settings()).with_broker(broker()).with_model(sneakers());
    let running = frontend.start(&Supervisor::new()).unwrap();
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let open = async |service: &str| {
        let message = framed(0, &about(service).encode_to_vec());
        client.begin(WATCH, stream::iter([message])).await.unwrap().into_body()
    };
    let mut watched = [open("").await, open(INFERENCE).await, open("shop.Orders").await];
    let mut told = Vec::new();
    for body in &mut watched {
        let message = body.frame().await.unwrap().unwrap().into_data().unwrap();
        told.push(HealthCheckResponse::decode(&message[5..]).unwrap().status());
    }
    let serving = ServingStatus::Serving;
    assert_eq!(told, [serving, serving, ServingStatus::ServiceUnknown]);

    running.stop().await;
    for (body, expected) in watched.into_iter().zip([1, 1, 0]) {
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
        let rest = rest.to_bytes();
        let messages: Vec<_> = rest
            .chunks(7)
            .map(|message| HealthCheckResponse::decode(&message[5..]).unwrap().status())
            .collect();
        assert_eq!(messages, vec![ServingStatus::NotServing; expected]);
    }
}

#[tokio::test]
async fn watchers_have_the_places_of_streams() {
    let settings = frontend_actix::ServerConfig { max_streams: 1, ..settings() };
    let running = Frontend::new(settings).with_model(sneakers()).start(&Supervisor::new()).unwrap();
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let message = framed(0, &about(INFERENCE).encode_to_vec());
    let first = client.begin(WATCH, stream::iter([message])).await.unwrap();
    let second = client.refused(WATCH, &about(INFERENCE)).await;
    assert_eq!(second.code(), Code::Unavailable);
    drop(first);
    running.stop().await;
}
