mod database;
mod guard;
mod health;
mod inference;
mod legacy;
mod limits;
mod metrics;
mod model;
mod page;
mod pictures;
mod publish;
mod results;
mod routes;
#[cfg(target_os = "linux")]
mod stalled;
mod start;
mod uploads;

use std::{sync::Arc, time::Duration};

use actix_web::{
    body::to_bytes,
    dev::ServiceResponse,
    http::{Method, StatusCode, header},
    test::{TestRequest, call_service, init_service},
    web,
};
use fmnist_core::{
    Classifier, Image, Infer, ModelIdentity, PredictError, Prediction, Predictor, Supervisor,
    dataset::{Dataset, Split, synthetic},
    message::{PredictionRecord, ResultRecord},
    testing::FakeModel,
    transport::{Outbound, PublishError, Publisher, Source, memory::MemoryBroker},
};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::app;
use service::Producer;

use crate::{Frontend, ServerConfig, site::Site};

const TOKEN: &str = "0123456789abcdef";
const HOST: &str = "127.0.0.1:5000";

/// Sees a sneaker in everything but a blank image, on which it fails, and one with which it is away.
fn sneakers() -> Arc<FakeModel> {
    let see = |image: &Image| {
        if *image == Image::new([0; Image::PIXELS]) {
            return Err("secret internals".to_owned().into());
        }
        if *image == Image::new([113; Image::PIXELS]) {
            return Err(PredictError::unavailable("secret internals"));
        }
        let mut probabilities = vec![0.0; 10];
        (probabilities[7], probabilities[9]) = (0.75, 0.25);
        Ok((7, probabilities))
    };
    Arc::new(FakeModel::new(ModelIdentity::of_code("sneakers", "1.0"), see))
}

/// A broker that is away, or refuses everything.
#[derive(Clone)]
struct Failing {
    refuses: bool,
}

impl Publisher for Failing {
    async fn publish(&self, _: Outbound) -> Result<String, PublishError> {
        let (context, source) = ("10.0.0.7:9092 said no".to_owned(), None);
        Err(if self.refuses {
            PublishError::Refused { context, source }
        } else {
            PublishError::Unavailable { context, source }
        })
    }
}

/// A broker that never answers.
#[derive(Clone)]
struct Silent;

impl Publisher for Silent {
    async fn publish(&self, _: Outbound) -> Result<String, PublishError> {
        std::future::pending().await
    }
}

struct World {
    kafka: MemoryBroker,
    pubsub: MemoryBroker,
    stop: watch::Sender<bool>,
    site: web::Data<Site>,
}

impl World {
    fn new() -> Self {
        Self::with(ServerConfig::default(), |frontend| frontend)
    }

    fn with(settings: ServerConfig, change: impl FnOnce(Frontend) -> Frontend) -> Self {
        let (kafka, pubsub) = (MemoryBroker::new("INFERENCE"), MemoryBroker::new("MODEL"));
        let (results, _) = broadcast::channel(8);
        let (stop, stopping) = watch::channel(false);
        let frontend = Frontend::new(settings)
            .with_broker(Producer::new("kafka", kafka.publisher()))
            .with_broker(Producer::new("pubsub", pubsub.publisher()))
            .with_model(sneakers())
            .with_test_set(&test_set())
            .with_results(results);
        let site = Site::new(change(frontend).setup, stopping, &Supervisor::new());
        Self { kafka, pubsub, stop, site }
    }

    async fn call(&self, request: TestRequest) -> ServiceResponse {
        let service = init_service(app(self.site.clone())).await;
        let request = request.insert_header((header::HOST, HOST));
        call_service(&service, request.to_request()).await.map_into_boxed_body()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.call(TestRequest::get().uri(path)).await).await
    }
}

fn test_set() -> Dataset {
    synthetic(Split::Test, 20, 0)
}

async fn text(response: ServiceResponse) -> String {
    let body = to_bytes(response.into_body()).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn answer(response: ServiceResponse) -> (StatusCode, Value) {
    let status = response.status();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

async fn received(broker: &MemoryBroker) -> Vec<Outbound> {
    use fmnist_core::transport::{Limits, Transport};
    let limits = Limits { max_messages: 10, max_bytes: 1 << 20, max_wait: Duration::ZERO };
    let deliveries = broker.consumer().recv(limits).await.unwrap();
    let parts = |d: fmnist_core::transport::Delivery<_>| Outbound {
        key: d.key.clone(),
        attributes: d.attributes.clone(),
        payload: d.payload.clone(),
        ..Outbound::default()
    };
    deliveries.into_iter().map(parts).collect()
}

fn multipart(content: &[u8]) -> TestRequest {
    let mut body =
        b"--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"
            .to_vec();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--b--\r\n");
    TestRequest::post()
        .insert_header((header::CONTENT_TYPE, "multipart/form-data; boundary=b"))
        .set_payload(body)
}

fn record(id: &str, label: &str) -> Arc<ResultRecord> {
    let model = sneakers();
    let seen = model.predict(&[Image::new([1; Image::PIXELS])]).unwrap();
    let mut prediction = PredictionRecord::new(0, &seen[0], model.labels(), 0);
    prediction.label = label.to_owned();
    Arc::new(ResultRecord {
        schema: ResultRecord::SCHEMA,
        id: id.to_owned(),
        source: Source {
            transport: "kafka".into(),
            topic: "INFERENCE".into(),
            partition: Some(0),
            offset: Some(1),
            message_id: None,
        },
        model: model.identity(),
        start_idx: Some(0),
        end_idx: Some(1),
        predictions: vec![prediction],
        received_at: "2026-11-24T03:55:31.000Z".to_owned(),
        inferred_at: "2026-11-24T03:55:31.100Z".to_owned(),
    })
}
