//! The pipeline under many schedules: one thread, paused time, every delay and fault drawn from a
//! seed. The two threads of the pipeline are tasks here, so that a seed decides everything.

mod transport;
mod world;

use std::{
    cell::Cell,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rand::RngExt;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{sleep, timeout},
};
use transport::SimulatedTransport;
pub(super) use world::Fault;
use world::{Fate, World};

use super::{
    Answered, BatchConfig, OnError, OnErrorAction, Pipeline, PipelineConfig, Pulse, Sink,
    SinkError,
    meters::Meters,
    runner,
    worker::{self, Worker},
};
use crate::{
    classifier::{ClassifyError, Infer, ModelIdentity, Prediction},
    image::Image,
    label::LABELS,
    message,
};

/// Incarnations of the consumer before the one that may finish.
const MOST_CRASHES: u32 = 3;
/// Longer than any delay in a schedule: what is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(3_600);
const TEST_IMAGES: u8 = 20;
/// Images of a batch at most.
const MAX_IMAGES: u64 = 8;
/// How long the results topic is away at times: ten publications that are given up.
const OUTAGE: Duration = Duration::from_secs(300);

thread_local! {
    /// The fault of the schedule that runs on this thread.
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether the pipeline is to make this mistake.
pub(super) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Nobody records here; made once, because a schedule takes less time than they do.
static METERS: LazyLock<Arc<Meters>> = LazyLock::new(|| {
    let (name, version, sha256) = ("first".into(), "1".into(), String::new());
    Arc::new(Meters::new("simulated", &ModelIdentity { name, version, sha256 }))
});

/// Answers the first pixel; 255 is never classified, 254 not at the first time.
struct Model {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
    world: World,
}

impl Infer for Model {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        let failed = || ClassifyError::Inference { images: images.len(), reason: "told to".into() };
        let pixels = || images.iter().map(|image| image.pixels()[0]);
        if pixels().any(|pixel| pixel == 255) {
            return Err(failed());
        }
        if pixels().any(|pixel| pixel == 254) && self.world.state().chance(2) {
            return Err(failed());
        }
        let predict = |pixel: u8| {
            let class = usize::from(pixel) % LABELS.len();
            let mut probabilities = vec![0.0; LABELS.len()];
            probabilities[class] = 1.0;
            let model = Arc::clone(&self.identity);
            Prediction { class, probabilities: probabilities.into(), model }
        };
        Ok(pixels().map(predict).collect())
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        &self.identity
    }
}

/// Takes its time, and does not always confirm.
struct FlakySink(World);

impl Sink for FlakySink {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        {
            let mut state = self.0.state();
            results.iter().for_each(|result| state.classified(&result.record.id));
        }
        self.0.delay().await;
        if self.0.state().chance(8) {
            return Err(SinkError { context: "told to fail".to_owned(), source: None });
        }
        let mut state = self.0.state();
        results.iter().for_each(|result| state.written(&result.record.id));
        Ok(())
    }
}

/// A worker of the pipeline as a task that takes its time.
fn simulated<I: Send + 'static, O: Send + 'static>(
    world: &World,
    capacity: usize,
    mut work: impl FnMut(I) -> O + Send + 'static,
) -> Worker<I, O> {
    let (input, mut inputs) = mpsc::channel(capacity);
    let (outputs, output) = mpsc::channel(capacity);
    let world = world.clone();
    world.clone().spawn(async move {
        while let Some(item) = inputs.recv().await {
            world.delay().await;
            if outputs.send(work(item)).await.is_err() {
                break;
            }
        }
    });
    Worker { input, output }
}

fn config(world: &World) -> PipelineConfig {
    let mut state = world.state();
    let rng = &mut state.rng;
    PipelineConfig {
        batch: BatchConfig {
            max_images: rng.random_range(1..=MAX_IMAGES as usize),
            max_messages: rng.random_range(1..=12),
            max_bytes: [1, 2_000, 1 << 20][rng.random_range(0..3)],
            max_wait_ms: rng.random_range(0..=5),
            latency_budget_ms: [None, Some(0)][rng.random_range(0..2)],
        },
        on_error: OnError {
            action: [OnErrorAction::DeadLetter, OnErrorAction::Retry][rng.random_range(0..2)],
            attempts: rng.random_range(1..=3),
            backoff_ms: rng.random_range(0..=20),
            ..OnError::default()
        },
        record_only: rng.random_range(0..4) == 0,
        grace_ms: [0, 20, 10_000][rng.random_range(0..3)],
        ..PipelineConfig::default()
    }
}

/// Runs one consumer until `stop` resolves and it has drained.
async fn consume(
    world: &World,
    config: PipelineConfig,
    pulse: &Pulse,
    stop: impl Future<Output = ()> + Send,
) {
    let test_images: Arc<[Image]> =
        (0..TEST_IMAGES).map(|n| Image::new([n; Image::PIXELS])).collect();
    let identity =
        ModelIdentity { name: "first".into(), version: "1".into(), sha256: String::new() };
    let model = Arc::new(Model {
        labels: LABELS.map(str::to_owned).into(),
        identity: Arc::new(identity),
        world: world.clone(),
    });
    let images = test_images.len();
    let capacity = config.batch.max_messages;
    let decoder = simulated(world, capacity, move |batch| {
        worker::decode(batch, |attributes, payload| message::decode(attributes, payload, images))
    });
    let classifier = Arc::clone(&model);
    let inference =
        simulated(world, runner::BATCHES_AHEAD, move |batch| worker::classify(batch, &*classifier));
    let transport = SimulatedTransport::new(world.clone());
    let pipeline = Pipeline::new(transport, model, test_images, config)
        .with_sink(FlakySink(world.clone()))
        .with_pulse(pulse.clone());
    // A grace that ran out is an error, and no loss.
    let _ = runner::run_with(pipeline, decoder, inference, Arc::clone(&METERS), stop).await;
}

/// One schedule; what it broke, if anything.
async fn run(seed: u64, fault: Option<Fault>) -> Result<Fate, String> {
    PLANTED.set(fault);
    let world = World::new(seed, fault);
    let config = config(&world);
    let pulse = Pulse::default();
    let crashes = world.state().rng.random_range(0..=MOST_CRASHES);
    for _ in 0..crashes {
        let (after, gently) = {
            let mut state = world.state();
            (Duration::from_millis(state.rng.random_range(0..120)), state.chance(2))
        };
        if gently {
            let drained =
                timeout(PATIENCE, consume(&world, config.clone(), &Pulse::default(), sleep(after)))
                    .await;
            drained.map_err(|_| "draining never ends".to_owned())?;
        } else {
            // The future is dropped in the middle: a crash.
            let (config, pulse) = (config.clone(), Pulse::default());
            let endless = consume(&world, config, &pulse, std::future::pending());
            let _ = timeout(after, endless).await;
            world.crash();
        }
    }
    let is_cut = world.state().chance(16);
    if is_cut {
        world.state().cut(OUTAGE);
    }
    let has_grace = config.grace_ms > 0;
    let finished = world.clone();
    let last = consume(&world, config, &pulse, async move { finished.finished().await });
    let watch = async {
        if is_cut {
            sleep(OUTAGE).await;
            told(&world, &pulse)?;
        }
        Ok::<_, String>(())
    };
    let (ended, watched) = tokio::join!(timeout(PATIENCE, last), watch);
    ended.map_err(|_| world.state().unfinished())?;
    watched?;
    // Without a grace nobody waits for the last confirmation.
    if let (Some(reason), true) = (pulse.vitals().reason, has_grace) {
        return Err(format!("all is done, and the pulse says {reason}"));
    }
    world.state().judge()
}

/// Whether the pulse tells an outage that is about to end for what it is.
fn told(world: &World, pulse: &Pulse) -> Result<(), String> {
    let vitals = pulse.vitals();
    if !vitals.is_alive() {
        return Err(format!("an outage of the results topic is taken for a hang: {vitals:?}"));
    }
    match vitals.is_stalled || world.state().is_finished() {
        true => Ok(()),
        false => {
            Err(format!("nothing was confirmed for {OUTAGE:?}, and nobody is told: {vitals:?}"))
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// The first seed below `schedules` that breaks a rule, and how.
fn first_broken(schedules: u64, fault: Fault) -> Option<(u64, String)> {
    let runtime = runtime();
    (0..schedules).find_map(|seed| {
        runtime.block_on(run(seed, Some(fault))).err().map(|broken| (seed, broken))
    })
}

#[test]
fn a_hundred_thousand_schedules_break_no_rule() {
    const SCHEDULES: u64 = 100_000;
    const THREADS: u64 = 2;
    let begun = Timestamp::now();
    let explore = |first: u64| {
        let runtime = runtime();
        let mut total = Fate::default();
        for seed in (first..SCHEDULES).step_by(THREADS as usize) {
            match runtime.block_on(run(seed, None)) {
                Ok(fate) => total += fate,
                Err(broken) => panic!("schedule {seed}: {broken}"),
            }
        }
        total
    };
    let mut total = Fate::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || explore(n))).collect();
        threads.into_iter().for_each(|thread| total += thread.join().expect("no rule broken"));
    });
    let seconds = Timestamp::now().duration_since(begun).as_secs();
    println!("{SCHEDULES} schedules in {seconds} s: {total:?}");
    // What was explored is not nothing.
    assert!(total.crashes > 50_000 && total.redelivered > 100_000, "{total:?}");
    assert!(total.aborts > 10_000 && total.rejected > 10_000, "{total:?}");
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..50 {
        let fate = || runtime().block_on(run(seed, None)).expect("no rule broken");
        assert_eq!(fate(), fate(), "schedule {seed}");
    }
}

#[test]
fn every_known_fault_is_found_within_ten_thousand_schedules() {
    for fault in Fault::ALL {
        let found = first_broken(10_000, fault);
        let (seed, broken) = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        println!("{fault:?} found by schedule {seed}: {broken}");
    }
}
