//! The committed schemas against the code that they describe, and against what really travels.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use fmnist_core::{
    Classifier, dataset,
    message::{self, Requests, ResultsConfig, schema},
    pipeline::{Pipeline, PipelineConfig},
    transport::{Attributes, Outbound, memory::MemoryBroker},
};
use frontend_actix::Config;
use serde_json::{Map, Value, json};
use service::config::Document;

use crate::{
    draft7::{errors, is_valid},
    repository::{read, root},
};

fn committed(name: &str) -> Value {
    serde_json::from_str(&read(&format!("docs/schema/{name}"))).unwrap()
}

#[track_caller]
fn assert_valid(schema: &Value, instance: &Value) {
    let errors = errors(schema, instance);
    assert!(errors.is_empty(), "{errors:#?} in {instance:#}");
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    let schemas = [
        ("config.json", Config::schema()),
        ("range.json", schema::range()),
        ("inference-request.json", schema::inference_request()),
        ("result.json", schema::result()),
        ("dead-letter-headers.json", schema::dead_letter_headers()),
    ];
    for (name, schema) in schemas {
        let path = root().join("docs/schema").join(name);
        if std::env::var_os("FMNIST_TEST_WRITE_SCHEMAS").is_some() {
            fs::write(&path, format!("{schema:#}\n")).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            serde_json::from_str::<Value>(&text).is_ok_and(|committed| committed == schema),
            "{} is not the code's: FMNIST_TEST_WRITE_SCHEMAS=1 cargo test --workspace --test \
             checks schema",
            path.display()
        );
    }
}

#[test]
fn the_example_configuration_fits_its_schema_and_what_is_refused_does_not() {
    let schema = committed("config.json");
    let example = read("config.example.json");
    let example: Value = serde_json::from_str(&example).unwrap();
    assert_valid(&schema, &example);
    let wrong = [
        ("/batch/max_images", json!(0)),
        ("/server/port", json!(65_536)),
        ("/kafka/guarantee", json!("at_most_once")),
        ("/kafka/auto_offset_reset", json!("newest")),
        ("/pubsub/guarantee", json!("exactly_once")),
        ("/model/engine", json!("fuse")),
        ("/kafka/topic", json!(null)),
        ("/on_error", json!({ "actoin": "retry" })),
    ];
    for (place, value) in wrong {
        let mut changed = example.clone();
        *changed.pointer_mut(place).unwrap() = value;
        assert!(!is_valid(&schema, &changed), "{place}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, changed.to_string()).unwrap();
        assert!(Config::load(Some(&path), []).is_err(), "{place}");
    }
}

/// Requests, and whether they are in order. What no schema can say is not among them.
fn requests() -> Vec<(&'static str, Value, bool)> {
    let tensor = |shape: Value, datatype: &str, data: Value| {
        let input = json!({ "name": "image", "shape": shape, "datatype": datatype, "data": data });
        json!({ "inputs": [input] })
    };
    let flat = json!(vec![0; 784]);
    let rows = json!([vec![vec![0.5; 28]; 28]]);
    let (range, inference) = ("range.json", "inference-request.json");
    vec![
        (range, json!({ "start_idx": 0, "end_idx": 5 }), true),
        (range, json!({ "start_idx": 3, "end_idx": 4, "more": "ignored" }), true),
        (range, json!({ "start_idx": -1, "end_idx": 5 }), false),
        (range, json!({ "start_idx": "0", "end_idx": 5 }), false),
        (range, json!({ "start_idx": 0.5, "end_idx": 5 }), false),
        (range, json!({ "start_idx": 0 }), false),
        (range, json!({ "start_idx": 0, "end_idx": 5, "inputs": [] }), false),
        (inference, tensor(json!([1, 1, 28, 28]), "UINT8", flat.clone()), true),
        (inference, tensor(json!([1, 784]), "FP32", flat.clone()), true),
        (inference, tensor(json!([1, 28, 28]), "FP32", rows), true),
        (inference, tensor(json!([784]), "UINT8", flat.clone()), false),
        (inference, tensor(json!([0, 784]), "UINT8", json!([])), false),
        (inference, tensor(json!([1, 784]), "INT8", flat), false),
        (inference, json!({ "inputs": [] }), false),
        (inference, json!({ "inputs": [{ "name": "image" }] }), false),
    ]
}

#[test]
fn what_the_schemas_of_requests_take_the_decoder_takes_and_the_reverse() {
    for (name, request, in_order) in requests() {
        assert_eq!(is_valid(&committed(name), &request), in_order, "{name}: {request}");
        let payload = Bytes::from(request.to_string());
        let decoded = message::decode(&Attributes::new(), &payload, 10);
        assert_eq!(decoded.is_ok(), in_order, "{request}: {decoded:?}");
    }
}

/// Results and dead letters of a pipeline that got all of [`requests`], and a picture.
async fn run() -> MemoryBroker {
    let broker = MemoryBroker::new("INFERENCE");
    let mut payloads: Vec<Bytes> =
        requests().into_iter().map(|(_, request, _)| request.to_string().into()).collect();
    payloads.push(vec![7; 2 * 784].into());
    payloads.push("\u{1f45f}".into());
    for payload in payloads {
        broker.send(Outbound { payload, ..Outbound::default() });
    }
    let test_set = dataset::synthetic(dataset::Split::Test, 10, 0);
    let model = Classifier::pretrained().unwrap();
    let results = ResultsConfig { top_k: 3, ..ResultsConfig::default() };
    let requests = Requests::new(&model, test_set.images).with_results(results);
    let pipeline = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    let watched = broker.clone();
    let settled = async move {
        while watched.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    pipeline.run(settled).await.unwrap();
    broker
}

#[tokio::test]
async fn what_a_pipeline_publishes_fits_the_committed_schemas() {
    let broker = run().await;
    let (results, dead_letters) = (broker.results(), broker.dead_letters());
    let in_order = requests().iter().filter(|(_, _, in_order)| *in_order).count();
    assert_eq!(results.len(), in_order + 1);
    assert_eq!(dead_letters.len(), requests().len() - in_order + 1);
    let of_results = committed("result.json");
    for result in &results {
        let mut record: Value = serde_json::from_slice(&result.payload).unwrap();
        assert_valid(&of_results, &record);
        keep("result", &record);
        record["predictions"][0]["probability"] = json!(1.5);
        assert!(!is_valid(&of_results, &record));
    }
    let of_headers = committed("dead-letter-headers.json");
    for letter in &dead_letters {
        let headers: Map<String, Value> = letter
            .attributes
            .iter()
            .map(|(name, _)| (name.to_owned(), letter.attributes.text(name).into()))
            .collect();
        let headers = headers.into();
        assert_valid(&of_headers, &headers);
        keep("dead-letter-headers", &headers);
    }
}

/// Writes it where `scripts/check-schema.sh` has another implementation look at it.
fn keep(kind: &str, instance: &Value) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if let Some(folder) = std::env::var_os("FMNIST_TEST_MESSAGES") {
        let name = format!("{kind}-{}.json", COUNT.fetch_add(1, Ordering::Relaxed));
        fs::write(PathBuf::from(folder).join(name), instance.to_string()).unwrap();
    }
}

/// The file with the schemas that it refers to in their places.
fn asyncapi() -> Value {
    fn resolve(value: &mut Value) {
        if let Some(name) = value["$ref"].as_str().and_then(|r| r.strip_prefix("schema/")) {
            *value = committed(name);
        }
        match value {
            Value::Object(members) => members.values_mut().for_each(resolve),
            Value::Array(items) => items.iter_mut().for_each(resolve),
            _ => {}
        }
    }
    let text = read("docs/asyncapi.yaml");
    let mut document: Value = serde_norway::from_str(&text).unwrap();
    resolve(&mut document);
    document
}

#[test]
fn the_asyncapi_file_has_the_names_of_the_default_configuration() {
    let document = asyncapi();
    let Config { kafka, pubsub, .. } = Config::default();
    let expected: BTreeSet<String> = [
        kafka.topic,
        kafka.results_topic.unwrap(),
        kafka.dead_letter_topic,
        pubsub.topic,
        pubsub.results_topic.unwrap(),
        pubsub.dead_letter_topic,
    ]
    .into();
    let channels = document["channels"].as_object().unwrap();
    let found = channels.values().map(|channel| channel["address"].as_str().unwrap().to_owned());
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    for channel in channels.values() {
        if let Some(topic) = channel.pointer("/bindings/kafka/topic") {
            assert_eq!(topic, &channel["address"]);
        }
    }
    let group = &document["operations"]["receiveFromKafka"]["bindings"]["kafka"]["groupId"];
    assert_eq!(group["default"], kafka.group_id.as_str());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_examples_of_the_asyncapi_file_fit_its_schemas() {
    let document = asyncapi();
    let mut checked = 0;
    for message in document["components"]["messages"].as_object().unwrap().values() {
        for example in message["examples"].as_array().into_iter().flatten() {
            for part in ["headers", "payload"] {
                let schema = message[part].get("schema").unwrap_or(&message[part]);
                if let Some(instance) = example.get(part) {
                    assert_valid(schema, instance);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 7, "{checked}");
}

#[test]
fn the_table_of_dead_letter_headers_has_those_of_the_schema() {
    let text = read("docs/messages.md");
    let section = text.split("## Dead letters").nth(1).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let schema = committed("dead-letter-headers.json");
    let expected: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}
