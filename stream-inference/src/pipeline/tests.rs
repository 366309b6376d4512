mod claims;
mod exchange;
mod outage;
mod parts;
mod routes;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proptest::{
    prelude::ProptestConfig,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use tokio::sync::{broadcast, oneshot};

use super::*;
use crate::{
    codec::Codec,
    names,
    predict::{ModelIdentity, PredictError, Predictor},
    testing::Commanded,
    toy::{Echo, Record, Said, Step, Toy},
    transport::{
        Outbound, Stage, Transport,
        memory::{MemoryBroker, MemoryTransport},
    },
};

/// What raw messages have: their size counts, and their first byte is the input.
const BYTES: usize = 800;

/// So many cases drawn from one seed, for parts that are compared with a reference model.
pub(super) fn random(cases: u32) -> TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn range(start: usize, end: usize) -> Outbound {
    let payload = format!(r#"{{"start_idx": {start}, "end_idx": {end}}}"#).into();
    Outbound { payload, ..Outbound::default() }
}

pub(super) fn raw(value: u8) -> Outbound {
    Outbound { payload: Bytes::from(vec![value; BYTES]), ..Outbound::default() }
}

fn keyed(key: &'static str, message: Outbound) -> Outbound {
    Outbound { key: Some(key.into()), ..message }
}

fn record(result: &Outbound) -> Record {
    serde_json::from_slice(&result.payload).expect("a result")
}

fn answered(broker: &MemoryBroker) -> Vec<String> {
    broker.results().iter().map(|result| record(result).id).collect()
}

/// Runs a pipeline over what the broker holds until all of it has an end.
pub(super) async fn run_through<P, C, S>(
    broker: &MemoryBroker,
    pipeline: Pipeline<MemoryTransport, P, C, S>,
) -> Result<PipelineReport, PipelineError>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
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
    model: &Commanded<Echo>,
    config: PipelineConfig,
) -> Pipeline<MemoryTransport, Commanded<Echo>, Toy> {
    Pipeline::new(broker.consumer(), model.clone(), Toy::default(), config)
}

#[tokio::test]
async fn a_range_is_answered_with_its_indices_and_outputs() {
    let broker = MemoryBroker::new("INFERENCE");
    broker.send(range(3, 6));
    let run = pipeline(&broker, &Echo::new(), PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.inputs, report.batches), (1, 3, 1));
    let record = record(&broker.results()[0]);
    assert_eq!((record.id.as_str(), record.range), ("INFERENCE/0", Some((3, 6))));
    assert_eq!(record.outputs, [4, 5, 6]);
    assert!(record.is_of_one_model());
    assert_eq!(broker.results()[0].key.as_deref(), Some(&b"INFERENCE/0"[..]));
}

#[tokio::test]
async fn waiting_messages_share_batches_and_no_batch_is_above_the_limit() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    (0..60).for_each(|i| drop(broker.send(raw(i + 1))));
    let batch = BatchConfig { max_inputs: 16, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let run = pipeline(&broker, &model, config);
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.inputs), (60, 60));
    assert_eq!(model.calls().into_iter().max(), Some(16));
    assert!(report.batches <= 6, "{} batches for 60 waiting inputs", report.batches);
}

#[tokio::test]
async fn bad_messages_go_to_the_dead_letters_and_the_rest_goes_on() {
    let broker = MemoryBroker::new("m");
    let bad = |payload: &'static [u8]| Outbound { payload: payload.into(), ..Outbound::default() };
    broker.send(range(0, 1));
    broker.send(bad(b"{\"start_idx\": 0, \"end_i"));
    broker.send(range(5, 5));
    broker.send(range(90, 101));
    broker.send(bad(b""));
    broker.send(range(1, 2));
    let run = pipeline(&broker, &Echo::new(), PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 4));
    assert_eq!(answered(&broker), ["m/0", "m/5"]);
    let letters = broker.dead_letters();
    let stages: Vec<_> =
        letters.iter().map(|l| l.attributes.text("__connect.errors.stage")).collect();
    assert_eq!(stages, [Some("DECODE"), Some("VALIDATE"), Some("VALIDATE"), Some("VALIDATE")]);
    assert_eq!(letters[0].payload, &b"{\"start_idx\": 0, \"end_i"[..]);
    let reason = letters[3].attributes.text("__connect.errors.exception.message");
    assert_eq!(reason, Some("the message has no inputs"));
}

#[tokio::test]
async fn one_bad_input_in_a_batch_dead_letters_one_message() {
    for (value, expected) in
        [(255, "too bright"), (254, "panicked"), (253, "finite"), (252, "one of 10 digits")]
    {
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
        (1..=40).for_each(|i| drop(broker.send(raw(if i == 23 { value } else { i }))));
        let run = pipeline(&broker, &model, PipelineConfig::default());
        let report = run_through(&broker, run).await.expect("drained");
        assert_eq!((report.settlement.published, report.settlement.rejected), (39, 1));
        let letter = broker.dead_letters().remove(0);
        assert_eq!(letter.payload[0], value);
        assert_eq!(letter.attributes.text("__connect.errors.stage"), Some("INFER"));
        let reason = letter.attributes.text("__connect.errors.exception.message");
        let says = |r: &str| r.starts_with("input 0: ") && r.contains(expected);
        assert!(reason.is_some_and(says), "{reason:?}");
    }
}

#[tokio::test]
async fn a_failing_message_is_retried_as_often_as_configured_and_then_dead_lettered() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(raw(255));
    let on_error =
        OnError { action: OnErrorAction::Retry, attempts: 3, backoff_ms: 1, ..OnError::default() };
    let config = PipelineConfig { on_error, ..PipelineConfig::default() };
    let report = run_through(&broker, pipeline(&broker, &model, config)).await.expect("drained");
    assert_eq!((report.settlement.retried, report.settlement.rejected), (2, 1));
    assert_eq!(broker.dead_letters()[0].attributes.text(&names::header("attempt")), Some("3"));
}

#[tokio::test]
async fn a_passing_failure_costs_a_bisection_and_no_message() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    (1..=8).for_each(|i| drop(broker.send(raw(i))));
    model.fail(1, "told to fail");
    let run = pipeline(&broker, &model, PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (8, 0));
}

#[tokio::test]
async fn stop_leaves_the_refused_message_unacknowledged() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(range(7, 3));
    let on_error = OnError { action: OnErrorAction::Stop, ..OnError::default() };
    let config = PipelineConfig { on_error, ..PipelineConfig::default() };
    let error = run_through(&broker, pipeline(&broker, &model, config)).await.expect_err("stops");
    assert!(matches!(&error, PipelineError::Refused { id, .. } if id == "m/0"), "{error}");
    assert_eq!((broker.waiting_messages(), broker.dead_letters().len()), (1, 0));
}

#[tokio::test]
async fn stop_leaves_a_message_unacknowledged_whose_result_the_format_refuses() {
    for step in [Step::Record, Step::Encode] {
        let broker = MemoryBroker::new("m");
        (2..=4).for_each(|i| drop(broker.send(keyed("a", raw(i)))));
        let on_error = OnError { action: OnErrorAction::Stop, ..OnError::default() };
        let config = PipelineConfig { on_error, ..PipelineConfig::default() };
        let codec = Toy { panics: Some((step, 3)), ..Toy::default() };
        let run = Pipeline::new(broker.consumer(), Echo::new(), codec, config);
        let error = run_through(&broker, run).await.expect_err("stops");
        let expected = "message m/1 was refused at ENCODE: the encoder panicked; \
                        it is not acknowledged";
        assert_eq!(error.to_string(), expected, "{step:?}");
        assert!(broker.waiting_messages() >= 2 && broker.dead_letters().is_empty());
    }
}

#[tokio::test]
async fn so_many_refusals_in_a_row_stop_the_pipeline_and_an_answer_in_between_starts_anew() {
    let on_error = OnError { max_consecutive: Some(3), ..OnError::default() };
    let config = || PipelineConfig { on_error: on_error.clone(), ..PipelineConfig::default() };
    // In batches of one, so that they come to their ends as they were sent.
    let batch = BatchConfig { max_messages: 1, ..BatchConfig::default() };
    let config = || PipelineConfig { batch: batch.clone(), ..config() };
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    for value in [255, 255, 1, 255, 255, 2] {
        broker.send(raw(value));
    }
    let report = run_through(&broker, pipeline(&broker, &model, config())).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 4));
    for value in [255, 255, 255, 1] {
        broker.send(raw(value));
    }
    let stopped = run_through(&broker, pipeline(&broker, &model, config())).await;
    let PipelineError::RefusedInARow { count, id, stage, .. } = stopped.expect_err("it stops")
    else {
        panic!("another error");
    };
    assert_eq!((count, &*id, stage), (3, "m/8", Stage::Infer));
    assert_eq!((broker.dead_letters().len(), broker.waiting_messages()), (6, 2));
}

#[tokio::test]
async fn results_of_a_lane_are_published_in_its_order_though_small_messages_overtake_in_batches() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(keyed("a", range(0, 100)));
    broker.send(keyed("a", range(0, 1)));
    broker.send(keyed("b", range(1, 2)));
    let batch = BatchConfig { max_inputs: 8, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    run_through(&broker, pipeline(&broker, &model, config)).await.expect("drained");
    assert_eq!(answered(&broker), ["m/2", "m/0", "m/1"]);
    assert_eq!(record(&broker.results()[1]).outputs.len(), 100);
}

#[tokio::test]
async fn aborted_settlements_and_outages_lose_nothing() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
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
        BatchConfig { max_bytes: 10 * BYTES, ..BatchConfig::default() },
    ] {
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
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
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
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
    struct Cold(Commanded<Echo>, MemoryBroker, AtomicUsize);
    impl Predictor for Cold {
        type Input = u8;
        type Output = Said;
        fn predict(&self, batch: &[u8]) -> Result<Vec<Said>, PredictError> {
            assert_eq!(self.2.load(Ordering::SeqCst), 1, "asked before the warm-up was over");
            self.0.predict(batch)
        }
        fn identity(&self) -> Arc<ModelIdentity> {
            self.0.identity()
        }
        fn warm_up(&self) -> Result<(), PredictError> {
            assert_eq!(self.1.waiting_messages(), 1, "received before the warm-up was over");
            self.2.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }
    let broker = MemoryBroker::new("m");
    broker.send(raw(1));
    let model = Cold(Echo::new(), broker.clone(), AtomicUsize::new(0));
    let codec = Toy::default();
    let pipeline = Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default());
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

impl Sink<Record, u8> for Ledger {
    async fn write(&self, results: &[Answered<Record, u8>]) -> Result<(), SinkError> {
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
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
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

impl Sink<Record, u8> for Clumsy {
    async fn write(&self, results: &[Answered<Record, u8>]) -> Result<(), SinkError> {
        assert!(self.0.write(results).await.is_ok(), "the ledger is closed");
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_panics_has_not_confirmed_and_the_pipeline_goes_on() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
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
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(raw(1));
    let config = PipelineConfig { record_only: true, ..PipelineConfig::default() };
    let error = pipeline(&broker, &model, config).run(std::future::pending()).await;
    assert!(matches!(error, Err(PipelineError::NoDestination)));
    assert_eq!(broker.waiting_messages(), 1);
}

#[tokio::test]
async fn observers_see_settled_results() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(raw(4));
    let (observer, mut seen) = broadcast::channel(16);
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_observer(observer);
    run_through(&broker, run).await.expect("drained");
    let record = seen.recv().await.expect("a result");
    assert_eq!((record.id.as_str(), &*record.outputs), ("m/0", &[4][..]));
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
    let codec = Toy { most_outputs: 10, ..Toy::default() };
    let run = Pipeline::new(broker.consumer(), Echo::new(), codec, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    let results = broker.results();
    let (untraced, parts): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result.attributes.text("traceparent").is_none());
    assert_eq!(untraced.len(), 1);
    assert_eq!(parts.len(), 4);
    let letter = broker.dead_letters().remove(0);
    for message in parts.into_iter().chain([&letter]) {
        let parent = message.attributes.text("traceparent").expect("a context");
        assert!(parent.starts_with(TRACE) && !parent.contains("00f067aa0ba902b7"), "{parent}");
        assert_eq!(message.attributes.text("tracestate"), Some("a=1"));
    }
}

/// Notes what the results were found on.
#[derive(Default)]
struct Album(Arc<Mutex<Vec<Kept>>>);

/// Of a message: its id and the inputs that it carried.
type Kept = (String, Vec<u8>);

impl Sink<Record, u8> for Album {
    fn keeps_inputs(&self) -> bool {
        true
    }

    async fn write(&self, results: &[Answered<Record, u8>]) -> Result<(), SinkError> {
        let mut album = self.0.lock().expect("not poisoned");
        album.extend(results.iter().map(|r| (r.record.id.clone(), r.inputs.clone())));
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_keeps_inputs_has_those_that_a_message_carried_and_observers_have_none() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(raw(17));
    broker.send(range(3, 6));
    let (album, (observer, mut seen)) = (Album::default(), broadcast::channel(16));
    let kept = Arc::clone(&album.0);
    let run = pipeline(&broker, &model, PipelineConfig::default());
    let run = run.with_sink((album, Ledger(Arc::default(), AtomicUsize::new(1))));
    run_through(&broker, run.with_observer(observer)).await.expect("drained");
    let mut kept = kept.lock().expect("not poisoned").clone();
    kept.sort();
    assert_eq!(kept, [("m/0".to_owned(), vec![17]), ("m/1".to_owned(), vec![])]);
    let mut results = broker.results();
    results.sort_by_key(|result| record(result).id);
    let mut observed = [seen.recv().await, seen.recv().await].map(|r| r.expect("a result"));
    observed.sort_by_key(|record| record.id.clone());
    assert_eq!(
        observed.map(|record| (*record).clone()),
        [0, 1].map(|n: usize| record(&results[n]))
    );
}

/// Never confirms.
struct Away;

impl Sink<Record, u8> for Away {
    async fn write(&self, _: &[Answered<Record, u8>]) -> Result<(), SinkError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_the_drain_could_not_finish_is_in_the_report() {
    let broker = MemoryBroker::new("m");
    (1..=3).for_each(|value| drop(broker.send(raw(value))));
    let config = PipelineConfig { grace_ms: 20, ..PipelineConfig::default() };
    let run = pipeline(&broker, &Echo::new(), config).with_sink(Away);
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

/// Compiled, and so true: a pipeline may be spawned also where its transport can't be shared between threads.
fn _a_pipeline_runs_on_any_thread<T: Transport>(pipeline: Pipeline<T, Echo, Toy>) -> impl Send {
    pipeline.run(std::future::pending())
}
