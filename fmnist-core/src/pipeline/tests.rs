mod parts;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::{
    classifier::{ModelIdentity, Prediction},
    label::LABELS,
    transport::{Attributes, Outbound, memory::MemoryBroker},
};

/// Answers the brightness of the first pixel, modulo the classes; fails on pixels of 255.
pub(super) struct FirstPixel {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
    calls: Mutex<Vec<usize>>,
    fail_first: AtomicUsize,
}

impl FirstPixel {
    pub(super) fn new() -> Arc<Self> {
        let (name, version, sha256) = ("first-pixel".into(), "1.0".into(), "0".repeat(64));
        Arc::new(Self {
            labels: LABELS.map(str::to_owned).into(),
            identity: Arc::new(ModelIdentity { name, version, sha256 }),
            calls: Mutex::default(),
            fail_first: AtomicUsize::new(0),
        })
    }

    fn largest_call(&self) -> usize {
        self.calls.lock().expect("not poisoned").iter().copied().max().unwrap_or(0)
    }
}

impl Infer for FirstPixel {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        self.calls.lock().expect("not poisoned").push(images.len());
        let failed = |reason: &str| ClassifyError::Inference {
            images: images.len(),
            reason: reason.to_owned(),
        };
        let blank = images.iter().all(|image| image.pixels()[0] == 0);
        let down = |n: usize| n.checked_sub(1);
        if !blank && self.fail_first.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok()
        {
            return Err(failed("told to fail"));
        }
        let predict = |image: &Image| match image.pixels()[0] {
            252 => {
                let (probabilities, model) = ([0.1; 10].into(), Arc::clone(&self.identity));
                Ok(Prediction { class: 10, probabilities, model })
            }
            255 => Err(failed("too bright")),
            254 => panic!("far too bright"),
            pixel => {
                let class = usize::from(pixel) % LABELS.len();
                let mut probabilities = vec![0.0; LABELS.len()];
                probabilities[class] = if pixel == 253 { f32::NAN } else { 1.0 };
                let model = Arc::clone(&self.identity);
                Ok(Prediction { class, probabilities: probabilities.into(), model })
            }
        };
        images.iter().map(predict).collect()
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        &self.identity
    }
}

pub(super) fn test_set() -> Arc<[Image]> {
    (0..100).map(|i| Image::new([i + 1; Image::PIXELS])).collect()
}

fn range(start: usize, end: usize) -> Outbound {
    let payload = format!(r#"{{"start_idx": {start}, "end_idx": {end}}}"#).into();
    Outbound { payload, ..Outbound::default() }
}

pub(super) fn raw(pixel: u8) -> Outbound {
    Outbound { payload: Bytes::from(vec![pixel; Image::PIXELS]), ..Outbound::default() }
}

fn keyed(key: &'static str, message: Outbound) -> Outbound {
    Outbound { key: Some(key.into()), ..message }
}

fn classes(result: &Outbound) -> Vec<usize> {
    let record: ResultRecord = serde_json::from_slice(&result.payload).expect("a result");
    record.predictions.iter().map(|p| p.class).collect()
}

fn answered(broker: &MemoryBroker) -> Vec<String> {
    let id =
        |r: &Outbound| serde_json::from_slice::<ResultRecord>(&r.payload).expect("a result").id;
    broker.results().iter().map(id).collect()
}

/// Runs a pipeline over what the broker holds until all of it has an end.
pub(super) async fn run_through<S: Sink>(
    broker: &MemoryBroker,
    pipeline: Pipeline<crate::transport::memory::MemoryTransport, FirstPixel, S>,
) -> Result<PipelineReport, PipelineError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let watched = broker.clone();
    let watch = tokio::spawn(async move {
        while watched.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send(()).ok();
    });
    let run = pipeline.run(async { drop(stopped.await) });
    let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("in time");
    watch.abort();
    report
}

fn pipeline(
    broker: &MemoryBroker,
    model: &Arc<FirstPixel>,
    config: PipelineConfig,
) -> Pipeline<crate::transport::memory::MemoryTransport, FirstPixel> {
    Pipeline::new(broker.consumer(), Arc::clone(model), test_set(), config)
}

#[tokio::test]
async fn a_range_is_answered_with_its_indices_and_classes() {
    let broker = MemoryBroker::new("INFERENCE");
    broker.send(range(3, 6));
    let run = pipeline(&broker, &FirstPixel::new(), PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.images, report.batches), (1, 3, 1));
    let record: ResultRecord =
        serde_json::from_slice(&broker.results()[0].payload).expect("a result");
    assert_eq!(record.id, "INFERENCE/0");
    assert_eq!((record.start_idx, record.end_idx), (Some(3), Some(6)));
    let found: Vec<_> = record.predictions.iter().map(|p| (p.index, p.class)).collect();
    assert_eq!(found, [(3, 4), (4, 5), (5, 6)]);
    assert_eq!(broker.results()[0].key.as_deref(), Some(&b"INFERENCE/0"[..]));
}

#[tokio::test]
async fn only_a_blank_image_is_answered_with_a_sign() {
    let broker = MemoryBroker::new("m");
    let mut spot = [7_u8; Image::PIXELS];
    spot[100] = 200;
    let payload = [[7; Image::PIXELS], spot].concat().into();
    broker.send(Outbound { payload, ..Outbound::default() });
    let run = pipeline(&broker, &FirstPixel::new(), PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    let record: ResultRecord =
        serde_json::from_slice(&broker.results()[0].payload).expect("a result");
    let found: Vec<_> = record.predictions.iter().map(|p| (p.class, p.blank)).collect();
    assert_eq!(found, [(7, true), (7, false)]);
}

#[tokio::test]
async fn waiting_messages_share_batches_and_no_batch_is_above_the_limit() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    (0..60).for_each(|i| drop(broker.send(raw(i + 1))));
    let batch = BatchConfig { max_images: 16, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let run = pipeline(&broker, &model, config);
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.images), (60, 60));
    assert_eq!(model.largest_call(), 16);
    assert!(report.batches <= 6, "{} batches for 60 waiting images", report.batches);
}

#[tokio::test]
async fn bad_messages_go_to_the_dead_letters_and_the_rest_goes_on() {
    let broker = MemoryBroker::new("m");
    let bad = |payload: &'static [u8]| Outbound { payload: payload.into(), ..Outbound::default() };
    broker.send(range(0, 1));
    broker.send(bad(b"{\"start_idx\": 0, \"end_i"));
    broker.send(range(5, 5));
    broker.send(range(90, 101));
    let png = [("content-type", "image/png")].into_iter().collect::<Attributes>();
    broker.send(Outbound { attributes: png, ..bad(b"\x89PNG\r\n\x1a\n no picture") });
    broker.send(range(1, 2));
    let run = pipeline(&broker, &FirstPixel::new(), PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 4));
    assert_eq!(answered(&broker), ["m/0", "m/5"]);
    let letters = broker.dead_letters();
    let stages: Vec<_> =
        letters.iter().map(|l| l.attributes.text("__connect.errors.stage")).collect();
    assert_eq!(stages, [Some("DECODE"), Some("VALIDATE"), Some("VALIDATE"), Some("DECODE")]);
    assert_eq!(letters[0].payload, &b"{\"start_idx\": 0, \"end_i"[..]);
}

#[tokio::test]
async fn one_bad_image_in_a_batch_dead_letters_one_message() {
    for (pixel, expected) in
        [(255, "too bright"), (254, "panicked"), (253, "finite"), (252, "one of 10 classes")]
    {
        let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
        (1..=40).for_each(|i| drop(broker.send(raw(if i == 23 { pixel } else { i }))));
        let run = pipeline(&broker, &model, PipelineConfig::default());
        let report = run_through(&broker, run).await.expect("drained");
        assert_eq!((report.settlement.published, report.settlement.rejected), (39, 1));
        let letter = broker.dead_letters().remove(0);
        assert_eq!(letter.payload[0], pixel);
        assert_eq!(letter.attributes.text("__connect.errors.stage"), Some("INFER"));
        let reason = letter.attributes.text("__connect.errors.exception.message");
        assert!(reason.is_some_and(|r| r.contains(expected)), "{reason:?}");
    }
}

#[tokio::test]
async fn a_failing_message_is_retried_as_often_as_configured_and_then_dead_lettered() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    broker.send(raw(255));
    let on_error =
        OnError { action: OnErrorAction::Retry, attempts: 3, backoff_ms: 1, ..OnError::default() };
    let config = PipelineConfig { on_error, ..PipelineConfig::default() };
    let report = run_through(&broker, pipeline(&broker, &model, config)).await.expect("drained");
    assert_eq!((report.settlement.retried, report.settlement.rejected), (2, 1));
    assert_eq!(broker.dead_letters()[0].attributes.text("fmnist.attempt"), Some("3"));
}

#[tokio::test]
async fn a_passing_failure_costs_a_bisection_and_no_message() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    (1..=8).for_each(|i| drop(broker.send(raw(i))));
    model.fail_first.store(1, Ordering::SeqCst);
    let run = pipeline(&broker, &model, PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (8, 0));
}

#[tokio::test]
async fn stop_leaves_the_refused_message_unacknowledged() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    broker.send(range(7, 3));
    let on_error = OnError { action: OnErrorAction::Stop, ..OnError::default() };
    let config = PipelineConfig { on_error, ..PipelineConfig::default() };
    let error = run_through(&broker, pipeline(&broker, &model, config)).await.expect_err("stops");
    assert!(matches!(&error, PipelineError::Refused { id, .. } if id == "m/0"), "{error}");
    assert_eq!((broker.waiting_messages(), broker.dead_letters().len()), (1, 0));
}

#[tokio::test]
async fn results_of_a_lane_are_published_in_its_order_though_small_messages_overtake_in_batches() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    broker.send(keyed("a", range(0, 100)));
    broker.send(keyed("a", range(0, 1)));
    broker.send(keyed("b", range(1, 2)));
    let batch = BatchConfig { max_images: 8, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    run_through(&broker, pipeline(&broker, &model, config)).await.expect("drained");
    assert_eq!(answered(&broker), ["m/2", "m/0", "m/1"]);
    assert_eq!(classes(&broker.results()[1]).len(), 100);
}

#[tokio::test]
async fn aborted_settlements_and_outages_lose_nothing() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    let sent: Vec<_> = (1..=20).map(|i| broker.send(raw(i))).collect();
    broker.abort_settlements(1);
    broker.fail_receptions(2);
    let run = pipeline(&broker, &model, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    assert_eq!(answered(&broker), sent);
}

#[tokio::test]
async fn in_flight_messages_and_bytes_stay_bounded() {
    for batch in [
        BatchConfig { max_messages: 10, ..BatchConfig::default() },
        BatchConfig { max_bytes: 10 * Image::PIXELS, ..BatchConfig::default() },
    ] {
        let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
        (0..50).for_each(|_| drop(broker.send(raw(1))));
        let hold = broker.hold_confirmations();
        let config = PipelineConfig { batch, ..PipelineConfig::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(pipeline(&broker, &model, config).run(async {
            drop(stopped.await);
        }));
        while broker.results().len() < 10 {
            tokio::task::yield_now().await;
        }
        (0..1000).for_each(|_| assert!(broker.waiting_messages() >= 40));
        stop.send(()).expect("the pipeline runs");
        drop(hold);
        let report = run.await.expect("no panic").expect("drained");
        assert_eq!(report.settlement.published, 10);
        assert_eq!(broker.waiting_messages(), 40);
    }
}

#[tokio::test]
async fn keys_and_headers_count_as_what_is_in_flight() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    let attributes = || [("h", vec![7; 10_000])].into_iter().collect();
    let large = || Outbound { attributes: attributes(), ..keyed("k", raw(1)) };
    let bytes = large().size_bytes();
    (0..50).for_each(|_| drop(broker.send(large())));
    let hold = broker.hold_confirmations();
    let batch = BatchConfig { max_bytes: 10 * bytes, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let run = pipeline(&broker, &model, config).run(async { drop(stopped.await) });
    let run = tokio::spawn(run);
    while broker.results().len() < 10 {
        tokio::task::yield_now().await;
    }
    (0..1000).for_each(|_| assert!(broker.waiting_messages() >= 40));
    stop.send(()).expect("the pipeline runs");
    drop(hold);
    assert_eq!(run.await.expect("no panic").expect("drained").settlement.published, 10);
}

#[tokio::test]
async fn nothing_is_received_before_the_model_is_warm() {
    struct Cold(Arc<FirstPixel>, MemoryBroker);
    impl Infer for Cold {
        fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
            if images[0].pixels()[0] == 0 {
                assert_eq!(self.1.waiting_messages(), 1, "received before the warm-up was over");
            }
            self.0.infer(images)
        }
        fn labels(&self) -> &[String] {
            self.0.labels()
        }
        fn identity(&self) -> &Arc<ModelIdentity> {
            self.0.identity()
        }
    }
    let broker = MemoryBroker::new("m");
    broker.send(raw(1));
    let model = Arc::new(Cold(FirstPixel::new(), broker.clone()));
    let pipeline = Pipeline::new(broker.consumer(), model, test_set(), PipelineConfig::default());
    let watched = broker.clone();
    let settled = async move {
        while watched.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let report = pipeline.run(settled).await.expect("drained");
    assert_eq!(report.settlement.published, 1);
}

/// Fails the first write, then records.
#[derive(Default)]
struct Ledger(Arc<Mutex<Vec<String>>>, AtomicUsize);

impl Sink for Ledger {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(SinkError { context: "the ledger is closed".to_owned(), source: None });
        }
        let mut ledger = self.0.lock().expect("not poisoned");
        ledger.extend(results.iter().map(|r| r.record.id.clone()));
        Ok(())
    }
}

#[tokio::test]
async fn a_failing_sink_delays_acknowledgement_and_loses_nothing() {
    for record_only in [false, true] {
        let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
        let sent: Vec<_> = (1..=5).map(|i| broker.send(keyed("a", raw(i)))).collect();
        let ledger = Ledger::default();
        let written = Arc::clone(&ledger.0);
        let config = PipelineConfig { record_only, ..PipelineConfig::default() };
        let run = pipeline(&broker, &model, config).with_sink(ledger);
        let report = run_through(&broker, run).await.expect("drained");
        assert_eq!(*written.lock().expect("not poisoned"), sent);
        let published = if record_only { Vec::new() } else { sent };
        assert_eq!(answered(&broker), published);
        assert_eq!(report.settlement.recorded + report.settlement.published, 5);
    }
}

/// Panics at the first write, then records.
#[derive(Default)]
struct Clumsy(Ledger);

impl Sink for Clumsy {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        assert!(self.0.write(results).await.is_ok(), "the ledger is closed");
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_panics_has_not_confirmed_and_the_pipeline_goes_on() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    let sent: Vec<_> = (1..=5).map(|i| broker.send(keyed("a", raw(i)))).collect();
    let sink = Clumsy::default();
    let written = Arc::clone(&sink.0.0);
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_sink(sink);
    run_through(&broker, run).await.expect("drained");
    assert_eq!(*written.lock().expect("not poisoned"), sent);
    assert_eq!(answered(&broker), sent);
}

#[tokio::test]
async fn a_pipeline_whose_results_would_go_nowhere_does_not_start() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    broker.send(raw(1));
    let config = PipelineConfig { record_only: true, ..PipelineConfig::default() };
    let error = pipeline(&broker, &model, config).run(std::future::pending()).await;
    assert!(matches!(error, Err(PipelineError::NoDestination)));
    assert_eq!(broker.waiting_messages(), 1);
}

#[tokio::test]
async fn observers_see_settled_results() {
    let (broker, model) = (MemoryBroker::new("m"), FirstPixel::new());
    broker.send(raw(4));
    let (observer, mut seen) = broadcast::channel(16);
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_observer(observer);
    run_through(&broker, run).await.expect("drained");
    let record = seen.recv().await.expect("a result");
    assert_eq!((record.id.as_str(), record.predictions[0].class), ("m/0", 4));
}

#[tokio::test]
async fn every_part_of_a_result_is_a_step_of_its_messages_trace_and_a_dead_letter_too() {
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
    let config = PipelineConfig { results, ..PipelineConfig::default() };
    let run = pipeline(&broker, &FirstPixel::new(), config);
    run_through(&broker, run).await.expect("drained");
    let results = broker.results();
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
}

/// Never confirms.
struct Away;

impl Sink for Away {
    async fn write(&self, _: &[Answered]) -> Result<(), SinkError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_the_drain_could_not_finish_is_in_the_report() {
    let broker = MemoryBroker::new("m");
    (1..=3).for_each(|pixel| drop(broker.send(raw(pixel))));
    let config = PipelineConfig { grace_ms: 20, ..PipelineConfig::default() };
    let run = pipeline(&broker, &FirstPixel::new(), config).with_sink(Away);
    let taken = broker.clone();
    let report = run.run(async move {
        while taken.waiting_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let report = report.await.expect("drained");
    assert_eq!((report.unfinished, report.settlement.published), (3, 0));
    assert_eq!(broker.unsettled_messages(), 3);
}
