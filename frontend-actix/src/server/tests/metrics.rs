use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix_web::{http::StatusCode, test::TestRequest};
use fmnist_core::{
    Classifier, ClassifierSlot, Prediction, Predictor,
    dataset::{Split, synthetic},
    message::Requests,
    pipeline::{Pipeline, PipelineConfig, Pulse},
    slot::Shadow,
    transport::{Outbound, memory::MemoryBroker},
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{World, test_set, text};
use crate::{ServerConfig, metrics};

/// Type and labels of a metric.
type Series = BTreeMap<String, (String, BTreeSet<String>)>;

/// The table of docs/metrics.md, of what has its source there.
fn documented(is_source: impl Fn(&str) -> bool) -> Series {
    let document = include_str!("../../../../docs/metrics.md");
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let mut series = Series::new();
    for line in document.lines().filter(|line| line.starts_with("| `") && line.ends_with(" |")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [name, kind, labels, _, from] = cells[..] else { continue };
        if is_source(from.trim()) {
            let labels = labels.split(',').map(bare).filter(|label| !label.is_empty()).collect();
            series.insert(bare(name), (bare(kind), labels));
        }
    }
    series
}

/// What a text in Prometheus's format has.
fn told(text: &str) -> Series {
    let mut series = Series::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            series.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| sample.strip_suffix(suffix))
                .find(|name| series.contains_key(*name))
                .unwrap_or(sample);
            let names = labels.rsplit_once('}').unwrap().0.split("\",");
            let names = names.map(|label| label.split_once('=').unwrap().0.to_owned());
            series.get_mut(name).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    series
}

/// The value of a sample by its name and labels, as the text has them.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(sample).is_some_and(|l| l.starts_with(' ')));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Sends two good messages and a bad one through a pipeline until it has settled them.
async fn run_pipeline() {
    let broker = MemoryBroker::new("INFERENCE");
    for payload in
        [r#"{"start_idx": 0, "end_idx": 5}"#, "no image", r#"{"start_idx": 1, "end_idx": 3}"#]
    {
        broker.send(Outbound { payload: payload.into(), ..Outbound::default() });
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let watched = broker.clone();
    let settled = async move {
        while watched.unsettled_messages() > 0 {
            tokio::task::yield_now().await;
        }
        drop(stop);
    };
    let model = Classifier::pretrained().unwrap();
    let requests = Requests::new(&model, test_set().images);
    let pipeline = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    let (report, ()) = tokio::join!(pipeline.run(async { drop(stopped.await) }), settled);
    assert_eq!(report.unwrap().inputs, 7);
}

#[actix_web::test]
async fn the_documented_metrics_are_those_that_a_pipeline_and_a_page_tell_and_no_others() {
    let (recorder, metrics) = metrics::local();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    let world = World::with(ServerConfig::default(), |frontend| frontend.with_metrics(metrics));
    run_pipeline().await;
    world.get("/livez").await;
    let answer = world.call(TestRequest::get().uri("/metrics")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers().get("content-type").unwrap(),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = &*text(answer).await;
    let is_here = |source: &str| source != "Kafka" && source != "slot";
    assert_eq!(told(text), documented(is_here));
    for name in told(text).keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }

    let expected = [
        (r#"fmnist_messages_received_total{transport="memory"}"#, 3.0),
        (r#"fmnist_messages_settled_total{transport="memory",outcome="published"}"#, 2.0),
        (r#"fmnist_messages_settled_total{transport="memory",outcome="dead_lettered"}"#, 1.0),
        (r#"fmnist_messages_settled_total{transport="memory",outcome="retried"}"#, 0.0),
        (r#"fmnist_dead_letters_total{transport="memory",reason="DECODE"}"#, 1.0),
        (r#"fmnist_dead_letters_total{transport="memory",reason="INFER"}"#, 0.0),
        (r#"fmnist_images_total{transport="memory",model_name="base"}"#, 7.0),
        (r#"fmnist_batch_images_sum{transport="memory"}"#, 7.0),
        (r#"fmnist_in_flight_messages{transport="memory"}"#, 0.0),
        (r#"fmnist_in_flight_bytes{transport="memory"}"#, 0.0),
        (r#"fmnist_http_requests_total{route="/livez",status="2xx"}"#, 1.0),
    ];
    for (sample, expected) in expected {
        assert_eq!(value(text, sample), Some(expected), "{sample} in\n{text}");
    }
    let batches = value(text, r#"fmnist_batch_images_count{transport="memory"}"#).unwrap();
    for stage in ["batch", "infer"] {
        let count = format!(r#"fmnist_stage_seconds_count{{transport="memory",stage="{stage}"}}"#);
        assert_eq!(value(text, &count), Some(batches), "{stage}");
    }
    assert_eq!(value(text, r#"request_predict_seconds_count{model_name="base"}"#), Some(batches));
}

#[test]
fn the_documented_metrics_of_a_slot_are_those_that_it_tells_and_no_others() {
    let (recorder, metrics) = metrics::local();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    fmnist_core::slot::describe();
    let images = synthetic(Split::Test, 1_000, 0).images;
    let base = Classifier::pretrained().unwrap();
    let slot = ClassifierSlot::new(base.clone(), &images, 1);
    slot.shadow(base.clone(), Shadow::by(|answer: &Prediction| answer.class.to_string())).unwrap();
    slot.predict(&images).unwrap();
    slot.swap(base).unwrap();
    slot.roll_back("a whim").unwrap();
    let text = metrics.text();
    let mut documented = documented(|source| source == "slot");
    // A pair of labels is counted where it is found, on the candidate's own thread.
    documented.remove("fmnist_shadow_disagreements_total").unwrap();
    let mut told = told(&text);
    for elsewhere in ["fmnist_model_info", "fmnist_build_info"] {
        told.remove(elsewhere).unwrap();
    }
    assert_eq!(told, documented);
    for name in told.keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for (sample, expected) in [
        (r#"fmnist_model_changes_total{change="swapped"}"#, 1.0),
        (r#"fmnist_model_changes_total{change="rolled_back"}"#, 1.0),
        (r#"fmnist_model_changes_total{change="refused"}"#, 0.0),
        ("fmnist_unusual_inputs", 0.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in\n{text}");
    }
}

#[actix_web::test]
async fn paths_that_nobody_serves_are_counted_together() {
    let (recorder, metrics) = metrics::local();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    let world = World::new();
    for path in ["/a", "/b?c=d", "/kafka/push-to-consumer?start_idx=0"] {
        world.call(TestRequest::get().uri(path)).await;
    }
    let text = metrics.text();
    let count =
        |route: &str| format!(r#"fmnist_http_requests_total{{route="{route}",status="4xx"}}"#);
    assert_eq!(value(&text, &count("other")), Some(2.0));
    assert_eq!(value(&text, &count("/{broker}/push-to-consumer")), Some(1.0));
}

#[actix_web::test]
async fn an_inference_request_is_timed_by_kserves_names() {
    let (recorder, metrics) = metrics::local();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    let world = World::new();
    let infer = |pixels: usize| {
        let input = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28],
            "data": vec![1_u8; pixels] });
        let request = TestRequest::post().uri("/v2/models/sneakers/infer");
        world.call(request.set_json(json!({ "inputs": [input] })))
    };
    assert_eq!(infer(784).await.status(), StatusCode::OK);
    assert_eq!(infer(783).await.status(), StatusCode::BAD_REQUEST);
    let text = metrics.text();
    for stage in ["preprocess", "predict", "postprocess"] {
        let count = format!(r#"request_{stage}_seconds_count{{model_name="sneakers"}}"#);
        assert_eq!(value(&text, &count), Some(1.0), "{stage}");
        assert!(text.contains(&format!("# HELP request_{stage}_seconds ")), "{stage} has no help");
    }
}

#[actix_web::test]
async fn without_metrics_there_is_nothing_to_scrape() {
    assert_eq!(World::new().get("/metrics").await.0, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_stall_is_counted_when_prometheus_looks_and_over_when_a_message_is_settled() {
    let (recorder, metrics) = metrics::local();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    let broker = MemoryBroker::new("INFERENCE");
    let hold = broker.hold_confirmations();
    let payload = r#"{"start_idx": 0, "end_idx": 1}"#.into();
    broker.send(Outbound { payload, ..Outbound::default() });
    // Without patience, whatever is in flight has stalled.
    let pulse = Pulse::new(Duration::ZERO);
    let world = World::with(ServerConfig::default(), |frontend| {
        frontend.with_metrics(metrics).with_pulse(pulse.clone())
    });
    let model = Classifier::pretrained().unwrap();
    let (requests, config) = (Requests::new(&model, test_set().images), PipelineConfig::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let pipeline =
        Pipeline::new(broker.consumer(), model, requests, config).with_pulse(pulse.clone());
    let looked = async {
        let told = async |expected: &str| loop {
            let told = text(world.call(TestRequest::get().uri("/metrics")).await).await;
            if told.contains(expected) {
                return;
            }
            // The pipeline shares this thread.
            tokio::task::yield_now().await;
        };
        told(r#"fmnist_stalled{transport="memory"} 1"#).await;
        drop(hold);
        told(r#"fmnist_messages_settled_total{transport="memory",outcome="published"} 1"#).await;
        told(r#"fmnist_stalled{transport="memory"} 0"#).await;
        let text = text(world.call(TestRequest::get().uri("/metrics")).await).await;
        assert!(value(&text, r#"fmnist_stalls_total{transport="memory"}"#) >= Some(1.0), "{text}");
        drop(stop);
    };
    let (report, ()) = tokio::join!(pipeline.run(async { drop(stopped.await) }), looked);
    assert_eq!(report.unwrap().settlement.published, 1);
}
