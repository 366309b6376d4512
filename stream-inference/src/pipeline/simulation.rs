//! The pipeline under many schedules: one thread, paused time, every delay and fault drawn from a
//! seed. The two threads of the pipeline are tasks here, so that a seed decides everything.

mod fault;
mod transport;
mod world;

use std::{
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

pub(super) use fault::{Fault, is_planted};
use jiff::Timestamp;
use rand::RngExt;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{sleep, timeout},
};
use transport::SimulatedTransport;
use world::{Fate, World};

use super::{
    Answered, BatchConfig, OnError, OnErrorAction, Pipeline, PipelineConfig, Pulse, Sink,
    SinkError,
    meters::Meters,
    pulse::Outage,
    runner,
    schedule::Batch,
    worker::{self, Inference, Worker},
};
use crate::{
    predict::{ModelIdentity, PredictError, Predictor, Served},
    toy::{Record, Said, Toy},
};

/// Incarnations of the consumer before the one that may finish.
const MOST_CRASHES: u32 = 3;
/// Longer than any delay in a schedule: what is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Inputs that ranges are of.
const STORED: u8 = 20;
/// Inputs of a batch at most.
const MAX_INPUTS: u64 = 8;
/// How long the results topic or the model is away at times: ten publications that are given up.
const OUTAGE: Duration = Duration::from_secs(300);

/// Nobody records here; made once, because a schedule takes less time than they do.
static METERS: LazyLock<Arc<Meters>> = LazyLock::new(|| {
    Arc::new(Meters::new("simulated", &Arc::new(ModelIdentity::of_code("first", "0"))))
});

/// Answers the input; 255 is never answered, 254 not at the first time. Is exchanged at times, and away.
struct Model(World);

impl Predictor for Model {
    type Input = u8;
    type Output = Said;

    fn predict(&self, batch: &[u8]) -> Result<Vec<Said>, PredictError> {
        self.serve(batch).map(|served| served.outputs)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.0.state().model()
    }

    fn serve(&self, batch: &[u8]) -> Result<Served<Said>, PredictError> {
        let mut state = self.0.state();
        state.may_exchange_the_model();
        if state.is_model_away() {
            return Err(PredictError::unavailable("told to be away"));
        }
        if batch.contains(&255) || (batch.contains(&254) && state.chance(2)) {
            return Err(PredictError::from("told to fail".to_owned()));
        }
        let model = state.model();
        let say = |input: &u8| Said { digit: input % 10, model: Arc::clone(&model) };
        Ok(Served { outputs: batch.iter().map(say).collect(), model })
    }
}

/// Takes its time, and does not always confirm.
struct FlakySink(World);

impl Sink<Record, u8> for FlakySink {
    async fn write(&self, results: &[Answered<Record, u8>]) -> Result<(), SinkError> {
        {
            let mut state = self.0.state();
            results.iter().for_each(|result| state.answered(&result.record));
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

/// The worker that asks the model, as a task.
fn inference(world: &World, pulse: &Pulse) -> Inference<u8, Said> {
    let (input, mut inputs) = mpsc::channel::<Batch<u8>>(runner::BATCHES_AHEAD);
    let (outputs, output) = mpsc::channel(runner::BATCHES_AHEAD);
    let (world, pulse) = (world.clone(), pulse.clone());
    world.clone().spawn(async move {
        let model = Model(world.clone());
        while let Some(batch) = inputs.recv().await {
            world.delay().await;
            let mut outage = Outage::new(&pulse);
            let inferred = loop {
                match worker::infer(&batch, &model) {
                    Ok(inferred) => break inferred,
                    Err(reason) => sleep(outage.pause("first", &reason)).await,
                }
                if outputs.is_closed() {
                    return;
                }
            };
            drop(outage);
            if outputs.send(inferred).await.is_err() {
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
            max_inputs: rng.random_range(1..=MAX_INPUTS as usize),
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
    }
}

/// Runs one consumer until `stop` resolves and it has drained.
async fn consume(
    world: &World,
    config: PipelineConfig,
    pulse: &Pulse,
    stop: impl Future<Output = ()> + Send,
) {
    let codec = Toy { values: STORED.into(), ..Toy::default() };
    let read = codec.clone();
    let decode = move |batch| worker::decode(batch, &read, false);
    let decoder = simulated(world, config.batch.max_messages, decode);
    let inference = inference(world, pulse);
    let transport = SimulatedTransport::new(world.clone());
    let pipeline = Pipeline::new(transport, Model(world.clone()), codec, config)
        .with_sink(FlakySink(world.clone()))
        .with_pulse(pulse.clone());
    // A grace that ran out is an error, and no loss.
    let _ = pipeline.run_with(decoder, inference, Arc::clone(&METERS), stop).await;
}

/// One schedule; what it broke, if anything.
async fn run(seed: u64, fault: Option<Fault>) -> Result<Fate, String> {
    fault::plant(fault);
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
    let is_away = !is_cut && world.state().chance(16);
    if is_cut {
        world.state().cut(OUTAGE);
    }
    if is_away {
        // Until after somebody has looked.
        world.state().send_the_model_away(OUTAGE + Duration::from_secs(1));
    }
    let has_grace = config.grace_ms > 0;
    let finished = world.clone();
    let last = consume(&world, config, &pulse, async move { finished.finished().await });
    let watch = async {
        if is_cut || is_away {
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

/// Whether the pulse tells an outage that is about to end for what it is, and no hang.
fn told(world: &World, pulse: &Pulse) -> Result<(), String> {
    let vitals = pulse.vitals();
    if !vitals.is_alive() {
        return Err(format!("an outage is taken for a hang: {vitals:?}"));
    }
    match vitals.is_stalled || world.state().is_finished() {
        true => Ok(()),
        false => Err(format!(
            "nothing was answered or confirmed for {OUTAGE:?}, and nobody is told: {vitals:?}"
        )),
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
    assert!(total.exchanges > 10_000 && total.outages > 10_000, "{total:?}");
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..50 {
        let fate = || runtime().block_on(run(seed, None)).expect("no rule broken");
        assert_eq!(fate(), fate(), "schedule {seed}");
    }
}

#[test]
fn every_known_fault_is_found_within_a_thousand_schedules() {
    for fault in Fault::ALL {
        let found = first_broken(1_000, fault);
        let (seed, broken) = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        println!("{fault:?} found by schedule {seed}: {broken}");
    }
}
