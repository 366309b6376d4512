//! Parts of the pipeline that fail, and what it waits for.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::pipeline::{meters::Meters, pulse::Vitals, runner, schedule::Batch, worker};

type Inference = worker::Inference<u8, Said>;
type Decoder = worker::Decoder<Toy>;

fn meters(model: &Commanded<Echo>) -> Arc<Meters> {
    Arc::new(Meters::new("memory", &model.identity()))
}

/// A worker of the pipeline as a task of the test's own thread.
fn as_task<I: Send + 'static, O: Send + 'static>(
    capacity: usize,
    mut work: impl FnMut(I) -> O + Send + 'static,
) -> worker::Worker<I, O> {
    let (input, mut inputs) = mpsc::channel(capacity);
    let (outputs, output) = mpsc::channel(capacity);
    tokio::spawn(async move {
        while let Some(item) = inputs.recv().await {
            if outputs.send(work(item)).await.is_err() {
                break;
            }
        }
    });
    worker::Worker { input, output }
}

/// The decoder and the model as tasks, so that nothing happens beside the test's own thread.
fn tasks(model: &Commanded<Echo>, codec: Toy) -> (Decoder, Inference) {
    let decoder = as_task(4096, move |batch| worker::decode(batch, &codec, false));
    let model = model.clone();
    let infer = move |batch: Batch<u8>| worker::infer(&batch, &model).expect("it is there");
    (decoder, as_task(runner::BATCHES_AHEAD, infer))
}

pub(super) async fn until(
    broker: &MemoryBroker,
    pulse: &Pulse,
    condition: impl Fn(&Vitals) -> bool,
) {
    let reached = async {
        while !condition(&pulse.vitals()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), reached).await;
    waited.unwrap_or_else(|_| panic!("{broker:?}: {:?}", pulse.vitals()));
}

#[tokio::test]
async fn a_panic_in_the_decoder_refuses_the_message_that_it_was_reading_alone() {
    for step in [Step::Decode, Step::Count] {
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
        (1..=5).for_each(|i| drop(broker.send(raw(i))));
        let codec = Toy { panics: Some((step, 3)), ..Toy::default() };
        let (decoder, inference) = tasks(&model, codec);
        let run = pipeline(&broker, &model, PipelineConfig::default());
        let watched = broker.clone();
        let ended = async move {
            while watched.unsettled_messages() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let run = run.run_with(decoder, inference, meters(&model), ended);
        assert_eq!(run.await.expect("drained").settlement.published, 4);
        let letter = &broker.dead_letters()[0].attributes;
        assert_eq!(letter.text("__connect.errors.stage"), Some("DECODE"));
        let reason = letter.text("__connect.errors.exception.message");
        assert_eq!(reason, Some("the decoder panicked"), "{step:?}");
    }
}

#[tokio::test]
async fn a_thread_that_ends_early_ends_the_pipeline_with_its_name() {
    fn gone<I, O>() -> worker::Worker<I, O> {
        worker::Worker { input: mpsc::channel(1).0, output: mpsc::channel(1).1 }
    }
    for name in ["decode", "inference"] {
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
        broker.send(raw(1));
        let (mut decoder, mut inference) = tasks(&model, Toy::default());
        match name {
            "decode" => decoder = gone(),
            _ => inference = gone(),
        }
        let run = pipeline(&broker, &model, PipelineConfig::default());
        let run = run.run_with(decoder, inference, meters(&model), std::future::pending());
        let ended = run.await.expect_err("it ends");
        assert!(matches!(ended, PipelineError::ThreadEnded { thread } if thread == name));
        assert_eq!((broker.waiting_messages(), broker.results().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_results_topic_that_refuses_everything_is_a_stall_and_no_hang_until_it_takes_something() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    let sent = broker.send(raw(1));
    broker.abort_settlements(usize::MAX);
    let pulse = Pulse::new(Duration::from_millis(50));
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_pulse(pulse.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(run.run(async { drop(stopped.await) }));
    until(&broker, &pulse, |vitals| {
        let reason = vitals.reason.as_deref().unwrap_or_default();
        let loops = "were handed back to be delivered again, the last because the memory broker was \
                     told to abort";
        vitals.is_stalled && vitals.is_alive() && reason.contains(loops)
    })
    .await;
    broker.abort_settlements(0);
    until(&broker, &pulse, Vitals::is_well).await;
    stop.send(()).expect("the pipeline runs");
    assert!(run.await.expect("no panic").expect("drained").settlement.retried > 0);
    assert_eq!(answered(&broker), [sent]);
}

#[tokio::test(start_paused = true)]
async fn a_results_topic_that_never_answers_is_a_stall_and_no_hang_for_hours() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    (1..=5).for_each(|i| drop(broker.send(raw(i))));
    let hold = broker.hold_confirmations();
    let pulse = Pulse::default();
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_pulse(pulse.clone());
    let (decoder, inference) = tasks(&model, Toy::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let run = tokio::spawn(run.run_with(decoder, inference, meters(&model), stopped));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(pulse.vitals().is_well());
    for hours in 1..4 {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let vitals = pulse.vitals();
        assert!(vitals.is_stalled && vitals.is_alive(), "{vitals:?}");
        assert_eq!((vitals.in_flight, vitals.stalls), (5, 1));
        let reason = format!("the broker has confirmed nothing for {} s", hours * 3_600 + 59);
        assert_eq!(vitals.reason, Some(reason));
    }
    drop(hold);
    stop.send(()).expect("the pipeline runs");
    assert_eq!(run.await.expect("no panic").expect("drained").settlement.published, 5);
    assert!(pulse.vitals().is_well());
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_confirms_stay_within_their_budget() {
    const INPUTS: usize = 5_000;
    let codec = Toy { values: INPUTS, ..Toy::default() };
    let budget = runner::most_answers(codec.output_bytes());
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    // Twice the budget, and small ones that wait for the large one before them.
    let ranges = 2 * budget / INPUTS;
    for _ in 0..ranges {
        broker.send(keyed("lane", range(0, INPUTS)));
        broker.send(keyed("lane", range(0, 1)));
    }
    let sent = 2 * ranges;
    let hold = broker.hold_confirmations();
    let (consumer, config) = (broker.consumer(), PipelineConfig::default());
    let run = Pipeline::new(consumer, model.clone(), codec.clone(), config);
    let (decoder, inference) = tasks(&model, codec);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let run = tokio::spawn(run.run_with(decoder, inference, meters(&model), stopped));
    // Time passes when nothing else is left to do.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let answered: usize = model.calls().iter().sum();
    let (batch, ahead) = (BatchConfig::default().max_inputs, runner::BATCHES_AHEAD);
    assert!(answered >= budget, "{answered} of {budget}");
    assert!(answered <= budget + (ahead + 1) * batch, "{answered} of {budget}");
    drop(hold);
    stop.send(()).expect("the pipeline runs");
    assert_eq!(run.await.expect("no panic").expect("drained").settlement.published, sent);
}

#[tokio::test]
async fn a_message_whose_answer_is_above_the_budget_is_answered_before_those_that_wait_for_it() {
    const INPUTS: usize = 30_000;
    let codec = Toy { values: INPUTS, output_bytes: 4_096, ..Toy::default() };
    assert!(INPUTS > runner::most_answers(codec.output_bytes()));
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    let mut sent = vec![broker.send(keyed("lane", range(0, INPUTS)))];
    sent.extend((0..100).map(|_| broker.send(keyed("lane", range(0, 100)))));
    let run = Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    assert_eq!(answered(&broker), sent);
}

#[tokio::test]
async fn a_panic_in_the_encoder_refuses_its_message_alone_and_no_sink_has_it() {
    for step in [Step::Record, Step::Encode] {
        let broker = MemoryBroker::new("m");
        let mut sent: Vec<_> = (1..=5).map(|i| broker.send(keyed("a", raw(i)))).collect();
        let bad = sent.remove(2);
        let ledger = Ledger(Arc::default(), AtomicUsize::new(1));
        let written = Arc::clone(&ledger.0);
        let codec = Toy { panics: Some((step, 3)), ..Toy::default() };
        let run = Pipeline::new(broker.consumer(), Echo::new(), codec, PipelineConfig::default());
        let run = run_through(&broker, run.with_sink(ledger)).await.expect("drained");
        assert_eq!((run.settlement.published, run.settlement.rejected), (4, 1), "{step:?}");
        assert_eq!(answered(&broker), sent);
        assert_eq!(*written.lock().expect("not poisoned"), sent);
        let letters = broker.dead_letters();
        assert_eq!(letters.len(), 1);
        let header = names::header("id");
        let text = |name| letters[0].attributes.text(name);
        assert_eq!(text(&*header), Some(&*bad));
        assert_eq!(text("__connect.errors.stage"), Some("ENCODE"));
        assert_eq!(text("__connect.errors.exception.message"), Some("the encoder panicked"));
    }
}

#[tokio::test]
async fn a_message_without_inputs_is_refused_alone() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    broker.send(keyed("a", Outbound::default()));
    let sent = broker.send(keyed("a", raw(1)));
    let run = pipeline(&broker, &model, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    assert_eq!(answered(&broker), [sent]);
    let letters = broker.dead_letters();
    assert_eq!(letters.len(), 1);
    let text = |name| letters[0].attributes.text(name);
    assert_eq!(text("__connect.errors.stage"), Some("VALIDATE"));
    assert_eq!(text("__connect.errors.exception.message"), Some("the message has no inputs"));
}
