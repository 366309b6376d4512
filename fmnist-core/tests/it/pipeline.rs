//! Pipelines of images: what their results and dead letters say. What a pipeline promises whatever the
//! model is tested where it is, in stream-inference.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use fmnist_core::{
    Batcher, ClassifyError, Image, Infer, ModelIdentity, PredictError,
    codec::Codec,
    label::LABELS,
    message::{Requests, ResultRecord},
    pipeline::{
        Answered, BatchConfig, Pipeline, PipelineConfig, PipelineReport, ResultsConfig, Sink,
        SinkError,
    },
    testing::FakeModel,
    transport::{
        Attributes, Outbound,
        memory::{MemoryBroker, MemoryTransport},
    },
};
use tokio::sync::{broadcast, oneshot};

/// Sees the brightness of the first pixel, modulo the classes; fails on pixels of 255, panics on
/// 254, and says of 253 and 252 what no model of ten classes may say.
fn first_pixel() -> FakeModel {
    FakeModel::new(ModelIdentity::of_code("first-pixel", "1.0"), |image| {
        let pixel = image.pixels()[0];
        let (class, mut probabilities) = FakeModel::certain_of(usize::from(pixel) % LABELS.len());
        match pixel {
            255 => return Err(PredictError::from("too bright".to_owned())),
            254 => panic!("far too bright"),
            253 => probabilities[class] = f32::NAN,
            252 => return Ok((10, vec![0.1; 10])),
            _ => {}
        }
        Ok((class, probabilities))
    })
}

fn test_set() -> Arc<[Image]> {
    (0..100).map(|i| Image::new([i + 1; Image::PIXELS])).collect()
}

fn message(payload: impl Into<Bytes>) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

fn range(start: usize, end: usize) -> Outbound {
    message(format!(r#"{{"start_idx": {start}, "end_idx": {end}}}"#))
}

fn raw(pixel: u8) -> Outbound {
    message(vec![pixel; Image::PIXELS])
}

fn keyed(key: &'static str, message: Outbound) -> Outbound {
    Outbound { key: Some(key.into()), ..message }
}

fn records(broker: &MemoryBroker) -> Vec<ResultRecord> {
    let record = |r: &Outbound| serde_json::from_slice(&r.payload).expect("a result");
    broker.results().iter().map(record).collect()
}

fn classes(record: &ResultRecord) -> Vec<usize> {
    record.predictions.iter().map(|p| p.class).collect()
}

/// Stage and reason of each dead letter.
fn refusals(broker: &MemoryBroker) -> Vec<(String, String)> {
    let text = |letter: &Outbound, name| {
        letter.attributes.text(name).expect("every dead letter says so").to_owned()
    };
    let told = |letter: &Outbound| {
        let reason = text(letter, "__connect.errors.exception.message");
        (text(letter, "__connect.errors.stage"), reason)
    };
    broker.dead_letters().iter().map(told).collect()
}

fn pipeline(
    broker: &MemoryBroker,
    results: ResultsConfig,
) -> Pipeline<MemoryTransport, FakeModel, Requests> {
    let model = first_pixel();
    let requests = Requests::new(&model, test_set()).with_results(results);
    Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default())
}

/// Runs a pipeline over what the broker holds until all of it has an end.
async fn run_through<S: Sink<ResultRecord, Image>>(
    broker: &MemoryBroker,
    pipeline: Pipeline<MemoryTransport, FakeModel, Requests, S>,
) -> PipelineReport {
    let (stop, stopped) = oneshot::channel::<()>();
    let watched = broker.clone();
    tokio::spawn(async move {
        while watched.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send(()).ok();
    });
    let run = pipeline.run(async { drop(stopped.await) });
    let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("in time");
    report.expect("drained")
}

#[tokio::test]
async fn a_range_is_answered_with_its_indices_and_classes() {
    let broker = MemoryBroker::new("INFERENCE");
    broker.send(range(3, 6));
    let report = run_through(&broker, pipeline(&broker, ResultsConfig::default())).await;
    assert_eq!((report.settlement.published, report.inputs, report.batches), (1, 3, 1));
    let record = records(&broker).remove(0);
    assert_eq!(record.id, "INFERENCE/0");
    assert_eq!((record.start_idx, record.end_idx), (Some(3), Some(6)));
    let found: Vec<_> = record.predictions.iter().map(|p| (p.index, p.class, &*p.label)).collect();
    assert_eq!(found, [(3, 4, "Coat"), (4, 5, "Sandal"), (5, 6, "Shirt")]);
    assert_eq!((&*record.model.name, &*record.model.version), ("first-pixel", "1.0"));
    assert_eq!(broker.results()[0].key.as_deref(), Some(&b"INFERENCE/0"[..]));
    assert_eq!(broker.results()[0].attributes.text("content-type"), Some("application/json"));
}

#[tokio::test]
async fn images_that_a_message_carries_are_answered_by_their_position_under_its_key() {
    let broker = MemoryBroker::new("m");
    let images = [7_u8, 19, 8].map(|pixel| [pixel; Image::PIXELS]).concat();
    broker.send(keyed("camera", message(images)));
    run_through(&broker, pipeline(&broker, ResultsConfig::default())).await;
    let record = records(&broker).remove(0);
    assert_eq!((record.start_idx, record.end_idx), (None, None));
    let found: Vec<_> = record.predictions.iter().map(|p| (p.index, p.class)).collect();
    assert_eq!(found, [(0, 7), (1, 9), (2, 8)]);
    assert_eq!(broker.results()[0].key.as_deref(), Some(&b"camera"[..]));
}

#[tokio::test]
async fn only_a_blank_image_is_answered_with_a_sign() {
    let broker = MemoryBroker::new("m");
    let mut spot = [7_u8; Image::PIXELS];
    spot[100] = 200;
    broker.send(message([[7; Image::PIXELS], spot].concat()));
    run_through(&broker, pipeline(&broker, ResultsConfig::default())).await;
    let record = records(&broker).remove(0);
    let found: Vec<_> = record.predictions.iter().map(|p| (p.class, p.blank)).collect();
    assert_eq!(found, [(7, true), (7, false)]);
}

#[tokio::test]
async fn only_a_blank_image_of_the_test_set_is_answered_with_a_sign() {
    let broker = MemoryBroker::new("m");
    let spot = |n: usize| Image::from_fn(|row, column| if row + column == n { 200 } else { 7 });
    let test_images: Arc<[Image]> = (0..9)
        .map(|n| if n % 4 == 2 { Image::new([7; Image::PIXELS]) } else { spot(n + 1) })
        .collect();
    broker.send(range(1, 7));
    let model = first_pixel();
    let requests = Requests::new(&model, test_images);
    let run = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    run_through(&broker, run).await;
    let record = records(&broker).remove(0);
    let found: Vec<_> = record.predictions.iter().map(|p| (p.index, p.blank)).collect();
    assert_eq!(found, [(1, false), (2, true), (3, false), (4, false), (5, false), (6, true)]);
}

#[tokio::test]
async fn bad_messages_go_to_the_dead_letters_and_the_rest_goes_on() {
    let broker = MemoryBroker::new("m");
    broker.send(range(0, 1));
    broker.send(message("{\"start_idx\": 0, \"end_i"));
    broker.send(range(5, 5));
    broker.send(range(90, 101));
    let png = [("content-type", "image/png")].into_iter().collect::<Attributes>();
    let picture = message(&b"\x89PNG\r\n\x1a\n no picture"[..]);
    broker.send(Outbound { attributes: png, ..picture });
    broker.send(range(1, 2));
    let report = run_through(&broker, pipeline(&broker, ResultsConfig::default())).await;
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 4));
    let ids: Vec<_> = records(&broker).into_iter().map(|record| record.id).collect();
    assert_eq!(ids, ["m/0", "m/5"]);
    let stages: Vec<_> = refusals(&broker).into_iter().map(|(stage, _)| stage).collect();
    assert_eq!(stages, ["DECODE", "VALIDATE", "VALIDATE", "DECODE"]);
    assert_eq!(broker.dead_letters()[0].payload, &b"{\"start_idx\": 0, \"end_i"[..]);
}

#[tokio::test]
async fn one_bad_image_in_a_batch_dead_letters_one_message() {
    let reasons = [
        (255, "image 0: too bright"),
        (254, "image 0: the model panicked"),
        (253, "image 0: expected finite probabilities, found NaN"),
        (252, "image 0: expected one of 10 classes, found class 10 of 10 probabilities"),
    ];
    for (pixel, expected) in reasons {
        let broker = MemoryBroker::new("m");
        (1..=40).for_each(|i| drop(broker.send(raw(if i == 23 { pixel } else { i }))));
        let report = run_through(&broker, pipeline(&broker, ResultsConfig::default())).await;
        assert_eq!((report.settlement.published, report.settlement.rejected), (39, 1));
        assert_eq!(broker.dead_letters()[0].payload[0], pixel);
        assert_eq!(refusals(&broker), [("INFER".to_owned(), expected.to_owned())]);
    }
}

#[tokio::test]
async fn an_image_of_a_range_that_the_model_fails_on_is_named_by_its_index_in_the_test_set() {
    let broker = MemoryBroker::new("m");
    let test_images = (0..100).map(|i| Image::new([if i == 42 { 255 } else { i }; Image::PIXELS]));
    broker.send(range(40, 50));
    broker.send(range(43, 50));
    let model = first_pixel();
    let requests = Requests::new(&model, test_images.collect());
    let run = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    let report = run_through(&broker, run).await;
    assert_eq!((report.settlement.published, report.settlement.rejected), (1, 1));
    assert_eq!(refusals(&broker), [("INFER".to_owned(), "image 42: too bright".to_owned())]);
}

#[tokio::test]
async fn results_of_a_lane_are_published_in_its_order_though_small_messages_overtake_in_batches() {
    let broker = MemoryBroker::new("m");
    broker.send(keyed("a", range(0, 100)));
    broker.send(keyed("a", range(0, 1)));
    broker.send(keyed("b", range(1, 2)));
    let batch = BatchConfig { max_inputs: 8, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let model = first_pixel();
    let requests = Requests::new(&model, test_set());
    run_through(&broker, Pipeline::new(broker.consumer(), model, requests, config)).await;
    let records = records(&broker);
    let ids: Vec<_> = records.iter().map(|record| &*record.id).collect();
    assert_eq!(ids, ["m/2", "m/0", "m/1"]);
    assert_eq!(classes(&records[1]), (1..=100).map(|pixel| pixel % 10).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_most_probable_classes_are_listed_where_that_is_asked_for() {
    for (top_k, expected) in [(0, vec![]), (2, vec![(4, "Coat", 1.0), (0, "T-shirt/top", 0.0)])] {
        let broker = MemoryBroker::new("m");
        broker.send(raw(4));
        let results = ResultsConfig { top_k, ..ResultsConfig::default() };
        run_through(&broker, pipeline(&broker, results)).await;
        let record = records(&broker).remove(0);
        let top = &record.predictions[0].top;
        let top: Vec<_> = top.iter().map(|t| (t.class, &*t.label, t.probability)).collect();
        assert_eq!(top, expected);
    }
}

#[tokio::test]
async fn every_part_of_a_split_result_is_a_step_of_its_messages_trace_and_a_dead_letter_too() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-";
    let broker = MemoryBroker::new("m");
    let traced = |message: Outbound| {
        let parent = format!("{TRACE}00f067aa0ba902b7-01");
        let attributes = [("traceparent", &*parent), ("tracestate", "a=1")];
        let owned = attributes.map(|(name, value)| (name, value.to_owned()));
        Outbound { attributes: owned.into_iter().collect(), ..message }
    };
    broker.send(traced(range(0, 40)));
    broker.send(range(0, 1));
    broker.send(traced(range(5, 5)));
    let results = ResultsConfig { max_result_bytes: 2_000, ..ResultsConfig::default() };
    run_through(&broker, pipeline(&broker, results)).await;
    let results = broker.results();
    assert!(results.iter().all(|result| result.payload.len() <= 2_000));
    let (untraced, parts): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result.attributes.text("traceparent").is_none());
    assert_eq!(untraced.len(), 1);
    assert!(parts.len() > 1, "{} parts", parts.len());
    let letter = broker.dead_letters().remove(0);
    for message in parts.into_iter().chain([&letter]) {
        let parent = message.attributes.text("traceparent").expect("a context");
        assert!(parent.starts_with(TRACE) && !parent.contains("00f067aa0ba902b7"), "{parent}");
        assert_eq!(message.attributes.text("tracestate"), Some("a=1"));
    }
    let of_the_range = records(&broker).into_iter().filter(|record| record.id.contains('#'));
    let indices: Vec<_> = of_the_range.flat_map(|r| r.predictions).map(|p| p.index).collect();
    assert_eq!(indices, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_whose_answer_is_above_the_budget_is_answered_before_those_that_wait_for_it() {
    const IMAGES: usize = 30_000;
    let test_images: Arc<[Image]> = vec![Image::new([1; Image::PIXELS]); IMAGES].into();
    let broker = MemoryBroker::new("m");
    let mut sent = vec![broker.send(keyed("lane", range(0, IMAGES)))];
    sent.extend((0..100).map(|_| broker.send(keyed("lane", range(0, 100)))));
    let model = first_pixel();
    let results = ResultsConfig { top_k: 10, max_result_bytes: usize::MAX };
    let requests = Requests::new(&model, test_images).with_results(results);
    // The budget is 64 MiB.
    assert!(IMAGES * requests.output_bytes() > 64 << 20);
    let run = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    run_through(&broker, run).await;
    let ids: Vec<_> = records(&broker).into_iter().map(|record| record.id).collect();
    assert_eq!(ids, sent);
}

/// Keeps what it is given.
#[derive(Default)]
struct Album(Arc<Mutex<Vec<Answered>>>);

impl Sink<ResultRecord, Image> for Album {
    fn keeps_inputs(&self) -> bool {
        true
    }

    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        self.0.lock().expect("not poisoned").extend_from_slice(results);
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_has_the_pictures_that_a_message_carried_and_observers_see_the_settled_result() {
    let broker = MemoryBroker::new("m");
    broker.send(keyed("a", raw(4)));
    broker.send(keyed("a", range(3, 6)));
    let (album, (observer, mut seen)) = (Album::default(), broadcast::channel(16));
    let kept = Arc::clone(&album.0);
    let run = pipeline(&broker, ResultsConfig::default()).with_sink(album).with_observer(observer);
    run_through(&broker, run).await;
    let kept = kept.lock().expect("not poisoned").clone();
    let images: Vec<_> = kept.iter().map(|answered| answered.inputs.clone()).collect();
    assert_eq!(images, [vec![Image::new([4; Image::PIXELS])], vec![]]);
    for answered in &kept {
        assert_eq!(*seen.recv().await.expect("a result"), answered.record);
    }
    assert_eq!((kept[0].record.id.as_str(), classes(&kept[0].record)), ("m/0", vec![4]));
}

#[test]
fn an_image_that_fails_fails_its_own_call_of_a_shared_model_alone() {
    let model = Arc::new(Batcher::new(first_pixel(), &BatchConfig::default()));
    let calls = [vec![4, 255], vec![5, 6], vec![]].map(|pixels: Vec<u8>| {
        let model = Arc::clone(&model);
        let images: Vec<_> = pixels.iter().map(|&p| Image::new([p; Image::PIXELS])).collect();
        thread::spawn(move || model.infer(&images))
    });
    let [bad, good, none] = calls.map(|call| call.join().expect("no panic"));
    let bad = bad.expect_err("the model fails on a 255");
    assert!(
        matches!(&bad, ClassifyError::Inference { images: 2, reason } if reason == "too bright")
    );
    let classes: Vec<_> = good.expect("answers").into_iter().map(|p| p.class).collect();
    assert_eq!(classes, [5, 6]);
    assert!(none.expect("answers").is_empty());
    assert_eq!(model.labels(), LABELS.map(str::to_owned));
}
