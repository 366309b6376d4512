mod database;
mod guard;
mod inference;
mod limits;
mod metrics;
mod pictures;
mod routes;
#[cfg(target_os = "linux")]
mod stalled;
mod uploads;

use std::{pin::Pin, sync::Arc, time::Duration};

use actix_web::{
    body::{MessageBody, to_bytes},
    dev::ServiceResponse,
    http::{Method, StatusCode, header},
    test::{TestRequest, call_service, init_service},
    web,
};
use fmnist_core::{
    Classifier, Image, Infer, ModelIdentity, PredictError, Prediction, Predictor, Supervisor,
    dataset::{Dataset, Origin, Split, synthetic},
    message::{PredictionRecord, Requests, ResultRecord},
    pipeline::{Pipeline, PipelineConfig, Pulse},
    transport::{
        Outbound, PublishError, Publisher, Source,
        memory::{MemoryBroker, MemoryPublisher},
    },
};
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot, watch};

use super::app;
use crate::{Broker, BrokerKind, Frontend, ServerConfig, site::Site};

const TOKEN: &str = "0123456789abcdef";
const HOST: &str = "127.0.0.1:5000";

/// Sees a sneaker in everything but a blank image, on which it fails.
struct Sneakers {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl Sneakers {
    fn model() -> Arc<Self> {
        let identity = ModelIdentity {
            name: "sneakers".to_owned(),
            version: "1.0".to_owned(),
            sha256: "0".repeat(64),
        };
        let labels = fmnist_core::label::LABELS.map(str::to_owned).into();
        Arc::new(Self { labels, identity: Arc::new(identity) })
    }

    fn prediction(&self) -> Prediction {
        let mut probabilities = [0.0; 10];
        (probabilities[7], probabilities[9]) = (0.75, 0.25);
        Prediction {
            class: 7,
            probabilities: probabilities.into(),
            model: Arc::clone(&self.identity),
        }
    }
}

impl Predictor for Sneakers {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        if images.iter().any(|image| *image == Image::new([0; Image::PIXELS])) {
            return Err("secret internals".to_owned().into());
        }
        if images.iter().any(|image| *image == Image::new([113; Image::PIXELS])) {
            return Err(PredictError::unavailable("secret internals"));
        }
        Ok(images.iter().map(|_| self.prediction()).collect())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl Infer for Sneakers {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// A broker that is away, or refuses everything.
#[derive(Clone)]
struct Failing {
    refuses: bool,
}

impl Publisher for Failing {
    async fn publish(&self, _: Outbound) -> Result<String, PublishError> {
        let (context, source) = ("10.0.0.7:9092 said no".to_owned(), None);
        Err(match self.refuses {
            true => PublishError::Refused { context, source },
            false => PublishError::Unavailable { context, source },
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
            .with_broker(Broker::new(BrokerKind::Kafka, kafka.publisher()))
            .with_broker(Broker::new(BrokerKind::PubSub, pubsub.publisher()))
            .with_model(Sneakers::model())
            .with_test_set(&test_set())
            .with_results(results);
        let site = Site::new(change(frontend), stopping, &Supervisor::new());
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
    let model = Sneakers::model();
    let mut prediction = PredictionRecord::new(0, &model.prediction(), &model.labels, 0);
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
        model: Arc::clone(&model.identity),
        start_idx: Some(0),
        end_idx: Some(1),
        predictions: vec![prediction],
        received_at: "2026-11-24T03:55:31.000Z".to_owned(),
        inferred_at: "2026-11-24T03:55:31.100Z".to_owned(),
    })
}

// The old contract.

#[actix_web::test]
async fn a_range_is_published_as_the_old_producers_did() {
    let world = World::new();
    for method in [Method::GET, Method::POST] {
        let request = TestRequest::with_uri("/kafka/push-to-consumer?start_idx=0&end_idx=5");
        let response = world.call(request.method(method)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, r#"{"message_queue":"kafka","start_idx":0,"end_idx":5}"#);
    }
    let messages = received(&world.kafka).await;
    assert_eq!(messages[0].payload, &br#"{"start_idx": 0, "end_idx": 5}"#[..]);
    assert!(messages[0].key.is_none() && messages[0].attributes.is_empty());
}

#[actix_web::test]
async fn a_message_is_in_the_trace_of_the_request_if_that_is_in_one() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let world = World::new();
    for trace in [TRACE, "00-xyz"] {
        let request = TestRequest::post().uri("/kafka/push-to-consumer?start_idx=0&end_idx=5");
        let request = request.insert_header(("traceparent", trace));
        let request = request.insert_header(("tracestate", "vendor=1"));
        assert_eq!(world.call(request).await.status(), StatusCode::OK);
    }
    let messages = received(&world.kafka).await;
    assert_eq!(messages[0].attributes.text("traceparent"), Some(TRACE));
    assert_eq!(messages[0].attributes.text("tracestate"), Some("vendor=1"));
    assert!(messages[1].attributes.is_empty());
}

#[actix_web::test]
async fn pubsub_answers_the_indices_as_they_were_given() {
    let world = World::new();
    let request = TestRequest::get().uri("/pubsub/push-to-consumer?start_idx=00&end_idx=5");
    let found = text(world.call(request).await).await;
    assert_eq!(found, r#"{"message_queue":"pubsub","start_idx":"00","end_idx":"5"}"#);
    let messages = received(&world.pubsub).await;
    assert_eq!(messages[0].payload, &b"pubsub - model inference"[..]);
    assert_eq!(messages[0].attributes.text("start_idx"), Some("00"));
    assert_eq!(messages[0].attributes.text("end_idx"), Some("5"));
}

#[actix_web::test]
async fn the_old_form_leads_to_the_old_address() {
    let world = World::new();
    for broker in ["kafka", "pubsub"] {
        let form = [("message_broker", broker), ("start_idx", "0"), ("end_idx", "5")];
        let response = world.call(TestRequest::post().set_form(form)).await;
        assert_eq!(response.status(), StatusCode::FOUND);
        let expected = format!("/{broker}/push-to-consumer?start_idx=0&end_idx=5");
        assert_eq!(*response.headers().get(header::LOCATION).unwrap(), *expected);
    }
}

// The old faults.

#[actix_web::test]
async fn a_failed_send_is_not_answered_200() {
    for (refuses, status) in [(false, 503), (true, 400)] {
        let world = World::with(ServerConfig::default(), |frontend| {
            frontend.with_broker(Broker::new(BrokerKind::Kafka, Failing { refuses }))
        });
        let (found, body) = world.get("/kafka/push-to-consumer?start_idx=0&end_idx=5").await;
        assert_eq!(found, status);
        assert!(!body.to_string().contains("10.0.0.7"), "internals leak: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_confirms_is_a_503() {
    let broker = Broker::new(BrokerKind::Kafka, Silent);
    let world =
        World::with(ServerConfig::default(), |frontend| frontend.with_broker(broker.clone()));
    let (status, body) = world.get("/kafka/push-to-consumer?start_idx=0&end_idx=5").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = "kafka did not confirm; the message may not have arrived";
    assert_eq!(body, json!({ "error": expected }));
}

#[actix_web::test]
async fn unknown_broker_is_a_400() {
    let world = World::new();
    let form = [("message_broker", "rabbit"), ("start_idx", "0"), ("end_idx", "5")];
    let (status, body) = answer(world.call(TestRequest::post().set_form(form)).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let expected = "there is no broker \"rabbit\": expected kafka or pubsub";
    assert_eq!(body, json!({ "error": expected }));
    let (status, _) = world.get("/rabbit/push-to-consumer?start_idx=0&end_idx=5").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn a_missing_parameter_is_a_400() {
    let world = World::new();
    let cases = [
        ("", "start_idx is missing"),
        ("?start_idx=0", "end_idx is missing"),
        ("?end_idx=5", "start_idx is missing"),
        ("?start_idx=&end_idx=5", "start_idx is missing"),
    ];
    for (query, expected) in cases {
        let (status, body) = world.get(&format!("/kafka/push-to-consumer{query}")).await;
        assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({ "error": expected })));
    }
    let form = [("message_broker", "kafka"), ("start_idx", "0")];
    let (status, body) = answer(world.call(TestRequest::post().set_form(form)).await).await;
    assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({ "error": "end_idx is missing" })));
}

#[actix_web::test]
async fn ranges_outside_of_the_test_set_are_400_and_publish_nothing() {
    let world = World::new();
    let queries = [
        "start_idx=5&end_idx=5",
        "start_idx=6&end_idx=5",
        "start_idx=-1&end_idx=5",
        "start_idx=0&end_idx=21",
        "start_idx=x&end_idx=5",
        "start_idx=0&end_idx=5.0",
        "start_idx=0&end_idx=99999999999999999999999",
    ];
    for query in queries {
        for broker in ["kafka", "pubsub"] {
            let (status, body) = world.get(&format!("/{broker}/push-to-consumer?{query}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
            assert!(body["error"].is_string(), "{body}");
        }
    }
    assert_eq!((world.kafka.waiting_messages(), world.pubsub.waiting_messages()), (0, 0));
    assert_eq!(world.get("/kafka/push-to-consumer?start_idx=19&end_idx=20").await.0, 200);
}

#[actix_web::test]
async fn no_debug_server_is_reachable() {
    let world = World::new();
    for path in ["/console", "/debug", "/?__debugger__=yes&cmd=resource&f=style.css", "/admin"] {
        let response = world.call(TestRequest::get().uri(path)).await;
        let status = response.status();
        let body = text(response).await;
        assert!(status == StatusCode::NOT_FOUND || body.contains("<title>fmnist-stream"), "{path}");
    }
    let blank = TestRequest::post().uri("/classify").set_payload(vec![0; Image::PIXELS]);
    let (status, body) = answer(world.call(blank).await).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body, json!({ "error": "classification failed" }));
}

#[actix_web::test]
async fn a_model_that_is_away_is_a_503_that_keeps_the_reason_to_the_log() {
    let world = World::new();
    let image = TestRequest::post().uri("/classify").set_payload(vec![113; Image::PIXELS]);
    let (status, body) = answer(world.call(image).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, json!({ "error": "the model can't answer now; try again later" }));
}

// Uploads.

#[actix_web::test]
async fn an_upload_is_classified_as_form_and_as_body() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    let requests = [
        multipart(&png),
        TestRequest::post().set_payload(png.clone()),
        TestRequest::post().set_payload(test_set().images[1].pixels().to_vec()),
    ];
    for request in requests {
        let (status, body) = answer(world.call(request.uri("/classify")).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["model"]["name"], "sneakers");
        assert_eq!(body["predictions"][0]["label"], "Sneaker");
        assert_eq!(body["predictions"][0]["top"][1]["label"], "Ankle boot");
    }
}

#[actix_web::test]
async fn only_a_picture_of_nothing_is_answered_with_a_sign() {
    let world = World::new();
    let spot = |level: u8| {
        let image = Image::from_fn(|row, column| if row + column == 20 { level } else { 7 });
        TestRequest::post().uri("/classify").set_payload(image.pixels().to_vec())
    };
    let (status, body) = answer(world.call(spot(9)).await).await;
    assert_eq!((status, &body["predictions"][0]["blank"]), (StatusCode::OK, &json!(true)));
    let (status, body) = answer(world.call(spot(200)).await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body["predictions"][0].get("blank").is_none(), "{body}");
}

#[actix_web::test]
async fn an_image_goes_into_the_stream_as_it_was_sent() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    for path in ["/kafka/images", "/pubsub/images"] {
        let (status, body) = answer(world.call(multipart(&png).uri(path)).await).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body["id"].is_string(), "{body}");
    }
    assert_eq!(received(&world.kafka).await[0].payload, png);
    let raw = TestRequest::post().uri("/kafka/images").set_payload(vec![7; Image::PIXELS]);
    assert_eq!(world.call(raw).await.status(), StatusCode::OK);
    let messages = received(&world.kafka).await;
    let raw = messages.iter().find(|message| message.payload.len() == Image::PIXELS).unwrap();
    assert_eq!(raw.attributes.text("content-type"), Some("application/octet-stream"));
}

#[actix_web::test]
async fn what_is_no_image_is_a_400_and_what_is_too_large_a_413() {
    let settings = ServerConfig { max_body_bytes: 10_000, ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    for path in ["/classify", "/kafka/images"] {
        let cases = [
            (TestRequest::post(), 400),
            (multipart(b""), 400),
            (multipart(b"no picture"), 400),
            (TestRequest::post().set_payload("no picture"), 400),
            (TestRequest::post().set_payload(vec![0; 10_001]), 413),
            (multipart(&[0; 10_001]), 413),
        ];
        for (request, status) in cases {
            let (found, body) = answer(world.call(request.uri(path)).await).await;
            assert_eq!(found, status, "{body}");
        }
    }
    assert_eq!(world.kafka.waiting_messages(), 0);
}

// Results and health.

#[actix_web::test]
async fn recent_results_come_newest_first_and_in_pages() {
    let world = World::new();
    for (id, label) in [("a", "Bag"), ("b", "Coat"), ("c", "Bag")] {
        world.site.history.push(record(id, label));
    }
    let ids = async |query: &str| {
        let (status, body) = world.get(&format!("/results{query}")).await;
        assert_eq!(status, StatusCode::OK);
        let results = body["results"].as_array().unwrap().clone();
        let ids: Vec<String> =
            results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect();
        (ids, body["total"].as_u64().unwrap())
    };
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(ids("").await, (owned(&["c", "b", "a"]), 3));
    assert_eq!(ids("?limit=1&offset=1").await, (owned(&["b"]), 3));
    assert_eq!(ids("?id=a").await, (owned(&["a"]), 1));
    assert_eq!(ids("?label=Bag").await, (owned(&["c", "a"]), 2));
    assert_eq!(ids("?transport=pubsub").await, (owned(&[]), 0));
    assert_eq!(world.get("/results?limit=many").await.0, StatusCode::BAD_REQUEST);
}

#[test]
fn the_history_is_bounded() {
    let history = crate::routes::results::History::default();
    for number in 0..1_100 {
        history.push(record(&number.to_string(), "Bag"));
    }
    assert_eq!(history.len(), 1_000);
}

#[actix_web::test]
async fn results_are_streamed_as_they_come_until_the_server_stops() {
    let world = World::new();
    let response = world.call(TestRequest::get().uri("/results/stream")).await;
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "text/event-stream");
    world.site.history.push(record("INFERENCE/0/1", "Bag"));
    let mut body = response.into_body();
    let mut told = String::new();
    while !told.ends_with("}\n\n") {
        let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await;
        told += std::str::from_utf8(&piece.unwrap().unwrap()).unwrap();
    }
    assert!(told.starts_with(": open\n\ndata: {\"schema\":1,\"id\":\"INFERENCE/0/1\""), "{told}");
    world.stop.send_replace(true);
    assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.is_none());
}

#[actix_web::test]
async fn readiness_says_what_is_missing() {
    let world = World::new();
    let (status, body) = world.get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({ "model": "warm", "kafka": "reachable", "pubsub": "reachable" });
    assert_eq!(body, json!({ "status": "ready", "checks": expected }));

    let away = || async {
        Err(PublishError::Unavailable { context: "10.0.0.7".to_owned(), source: None })
    };
    let world = World::with(ServerConfig::default(), |frontend| {
        let publisher: MemoryPublisher = MemoryBroker::new("INFERENCE").publisher();
        frontend.with_broker(Broker::new(BrokerKind::Kafka, publisher).with_probe(away))
    });
    let (status, body) = world.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["checks"]["kafka"], "unreachable");
    assert_eq!(world.get("/livez").await.0, StatusCode::OK);
}

#[actix_web::test]
async fn a_pipeline_whose_results_are_not_confirmed_is_not_ready_and_alive_until_it_gets_on() {
    let broker = MemoryBroker::new("INFERENCE");
    let hold = broker.hold_confirmations();
    // Without patience, whatever is in flight has stalled.
    let pulse = Pulse::new(Duration::ZERO);
    let model = Classifier::pretrained().unwrap();
    let requests = Requests::new(&model, synthetic(Split::Test, 5, 0).images);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default())
        .with_pulse(pulse.clone())
        .run(async { drop(stopped.await) });
    let world = World::with(ServerConfig::default(), |frontend| frontend.with_pulse(pulse.clone()));
    let (status, body) = world.get("/readyz").await;
    assert_eq!((status, &body["checks"]["consumers"]), (StatusCode::OK, &"running".into()));
    let running = tokio::spawn(running);

    let range = r#"{"start_idx": 0, "end_idx": 1}"#;
    broker.send(Outbound { payload: range.into(), ..Outbound::default() });
    let unconfirmed = |reason: &str| reason.starts_with("the broker has confirmed nothing for ");
    until(|| pulse.vitals().reason.is_some_and(|reason| unconfirmed(&reason))).await;
    let (status, body) = world.get("/readyz").await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, &"not ready".into());
    assert_eq!((status, &body["status"]), expected);
    assert!(body["checks"]["consumers"].as_str().is_some_and(unconfirmed), "{body}");
    let (status, body) = world.get("/livez").await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &"live".into()));
    let pipeline = &body["pipelines"][0];
    assert_eq!((&pipeline["in_flight"], &pipeline["stalled"]), (&1.into(), &true.into()));
    assert_eq!(pipeline["hangs"], Value::Null);
    assert!(pipeline["reason"].as_str().is_some_and(unconfirmed), "{body}");

    drop(hold);
    until(|| pulse.vitals().in_flight == 0).await;
    assert_eq!(world.get("/readyz").await.0, StatusCode::OK);
    drop(stop);
    running.await.unwrap().unwrap();
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("in time");
}

#[actix_web::test]
async fn the_page_says_what_it_serves() {
    let world = World::new();
    let page = text(world.call(TestRequest::get().uri("/")).await).await;
    assert!(page.contains("20 synthetic images") && page.contains("sneakers 1.0"));
    assert!(page.contains("max=\"20\"") && page.contains("action=\"/\""));
    assert!(!page.contains("{{"), "an unfilled place");
}

#[actix_web::test]
async fn a_model_and_data_of_ones_own_are_not_called_by_other_names() {
    let origin = Origin::Files("shoes".into());
    let page = async |model: Arc<Sneakers>, data: Dataset| {
        let world =
            World::with(ServerConfig::default(), |f| f.with_model(model).with_test_set(&data));
        text(world.call(TestRequest::get().uri("/")).await).await
    };
    let own = Arc::new(Sneakers {
        labels: ["boot", "clog"].map(str::to_owned).into(),
        identity: Sneakers::model().identity(),
    });
    let classes = Arc::from(own.labels.to_vec());
    let data = Dataset { classes, origin: origin.clone(), ..test_set() };
    let shown = page(own, data).await;
    assert!(shown.contains("data: 20 test images of your own."), "{shown}");
    assert!(shown.contains("<p>Pictures, classified") && shown.contains("Picture of one thing"));
    assert!(!shown.contains("Fashion-MNIST") && !shown.contains("garment"), "{shown}");

    let official = Dataset { origin, ..test_set() };
    let shown = page(Sneakers::model(), official).await;
    assert!(shown.contains("data: the 20 test images of Fashion-MNIST."), "{shown}");
}

#[actix_web::test]
async fn a_busy_port_is_refused_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = ServerConfig { port, ..ServerConfig::default() };
    let started = Frontend::new(settings).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("--port"), "{error}");
}

#[actix_web::test]
async fn a_public_address_without_a_token_is_not_served() {
    let settings = ServerConfig { bind: [0, 0, 0, 0].into(), port: 0, ..ServerConfig::default() };
    let started = Frontend::new(settings).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.contains("server.api_token"), "{error}");
}

#[actix_web::test]
async fn a_part_of_the_page_that_ends_early_is_named_and_a_stop_ends_them_all() {
    let start = |parts: &Supervisor| {
        let settings = ServerConfig { port: 0, ..ServerConfig::default() };
        let (results, _) = broadcast::channel(8);
        Frontend::new(settings).with_results(results).start(parts).unwrap()
    };
    let parts = Supervisor::new();
    let running = start(&parts);
    assert_eq!(parts.failure(), None);
    running.recording.as_ref().unwrap().abort();
    let ended = parts.ended().await;
    assert_eq!(ended.as_deref(), Some("the task that keeps the latest results ended early"));
    running.stop().await;

    let parts = Supervisor::new();
    let running = start(&parts);
    running.server.abort();
    let ended = parts.ended().await;
    assert_eq!(ended.as_deref(), Some("the task that serves the page ended early"));
    drop(running);

    let parts = Supervisor::new();
    start(&parts).stop().await;
    assert_eq!(parts.ended().await, None);
}
