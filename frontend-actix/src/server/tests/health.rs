//! What probes are told.

use fmnist_core::{
    message::Requests,
    pipeline::{Pipeline, PipelineConfig, Pulse},
    transport::memory::MemoryPublisher,
};
use tokio::sync::oneshot;

use super::*;

#[actix_web::test]
async fn readiness_says_what_is_missing() {
    let world = World::new();
    let (status, body) = world.get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({ "model": "warm", "kafka": "reachable", "pubsub": "reachable" });
    assert_eq!(body, json!({ "status": "ready", "checks": expected }));

    let away = || async { Err("10.0.0.7".into()) };
    let world = World::with(ServerConfig::default(), |frontend| {
        let publisher: MemoryPublisher = MemoryBroker::new("INFERENCE").publisher();
        frontend.with_broker(Producer::new("kafka", publisher).with_probe(away))
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
async fn brokers_are_asked_once_however_many_ask_whether_all_is_ready() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let probe = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    };
    let broker = Producer::new("kafka", MemoryBroker::new("INFERENCE").publisher());
    let world = World::with(ServerConfig::default(), |frontend| {
        frontend.with_broker(broker.with_probe(probe))
    });
    let callers = (0..50).map(|_| world.get("/readyz"));
    let answers = futures_util::future::join_all(callers).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
