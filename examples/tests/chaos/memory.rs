use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fmnist_core::{
    Classifier, Image,
    audit::{Account, Ledger},
    fail_points::{self, Death, FailPoint},
    message::{Requests, ResultRecord},
    pipeline::{Pipeline, PipelineConfig, Pulse, Vitals},
    transport::{
        Delivery, Limits, Outbound, Outcome, Rejection, Stage, Transport, memory::MemoryBroker,
    },
};
use rand::{
    RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::ChaCha8Rng;
use tokio::{runtime::Runtime, sync::oneshot, time::timeout};

use crate::{
    cell::payloads,
    consumer::pipeline,
    report::{Row, named},
};

/// Publishing and acknowledging are one step in memory, and nothing is revoked.
const POINTS: [FailPoint; 6] = [
    FailPoint::AfterRecv,
    FailPoint::AfterInfer,
    FailPoint::AfterSink,
    FailPoint::BeforeCommit,
    FailPoint::AfterCommit,
    FailPoint::InDrain,
];
const MESSAGES_A_DEATH: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// Fail points are of the whole process: one armed for one test would end another's consumer.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`crate::cell::fail_points`], with a broker that lives in this process: the pipeline dies,
/// and what it held is let go.
pub(crate) fn fail_points(hits: usize, random: &mut ChaCha8Rng) -> anyhow::Result<Row> {
    let _alone = alone();
    let begun = Instant::now();
    let runtime = Runtime::new()?;
    let broker = MemoryBroker::new("MEMORY");
    let mut ids = Vec::new();
    let mut deaths: Vec<FailPoint> = POINTS.iter().flat_map(|point| vec![*point; hits]).collect();
    deaths.shuffle(random);
    for point in deaths {
        for payload in payloads(MESSAGES_A_DEATH, random) {
            ids.push(broker.send(Outbound { payload: payload.into(), ..Outbound::default() }));
        }
        let passage = if point == FailPoint::InDrain { 1 } else { random.random_range(1..=4) };
        fail_points::arm(point, passage, Death::Task);
        runtime.block_on(die(&broker, point))?;
    }
    let account = runtime.block_on(end(&broker, &ids))?;
    let hit = POINTS.map(|point| format!("{} {hits}", point.as_str())).join(", ");
    Ok(Row::new("memory, at least once".to_owned(), hit, &account, begun.elapsed()))
}

/// Confirms nothing, then refuses what is settled, each time until the pulse has told it for what it is:
/// a stall, in words, of a consumer that is alive.
pub(crate) fn outage(random: &mut ChaCha8Rng) -> anyhow::Result<Row> {
    let _alone = alone();
    let begun = Instant::now();
    let broker = MemoryBroker::new("OUTAGE");
    let ids: Vec<String> = payloads(MESSAGES_A_DEATH, random)
        .into_iter()
        .map(|payload| broker.send(Outbound { payload: payload.into(), ..Outbound::default() }))
        .collect();
    let account = Runtime::new()?.block_on(async {
        let hold = broker.hold_confirmations();
        let pulse = Pulse::new(Duration::from_secs(1));
        let (stop, stopped) = oneshot::channel::<()>();
        let run = pipeline(broker.consumer())?.with_pulse(pulse.clone());
        let running = tokio::spawn(run.run(async { drop(stopped.await) }));
        let is_told = |vitals: &Vitals, words| {
            let reason = vitals.reason.as_deref().unwrap_or_default();
            vitals.is_stalled && vitals.is_alive() && reason.contains(words)
        };
        shows(&pulse, |vitals| is_told(vitals, "the broker has confirmed nothing")).await?;
        // What is in flight is answered; the rest is refused.
        broker.abort_settlements(usize::MAX);
        drop(hold);
        shows(&pulse, |vitals| is_told(vitals, "were handed back")).await?;
        broker.abort_settlements(0);
        shows(&pulse, |vitals| vitals.is_well() && broker.unsettled_messages() == 0).await?;
        drop(stop);
        running.await??;
        account(&broker, &ids)
    })?;
    let what = "results not confirmed, then refused, until it was told".to_owned();
    Ok(Row::new("memory, at least once".to_owned(), what, &account, begun.elapsed()))
}

async fn shows(pulse: &Pulse, expected: impl Fn(&Vitals) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !expected(&pulse.vitals()) {
        anyhow::ensure!(Instant::now() < deadline, "the pulse shows {:?}", pulse.vitals());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Ranges of the whole test set and ever less of it, at once: in turns the last would end first.
pub(crate) fn large_ranges() -> anyhow::Result<Row> {
    let _alone = alone();
    const RANGES: usize = 20;
    const IMAGES: usize = 2_000;
    let begun = Instant::now();
    let broker = MemoryBroker::new("RANGES");
    let range = |n: usize| {
        let end = IMAGES - n * IMAGES / (2 * RANGES);
        format!(r#"{{"start_idx": 0, "end_idx": {end}}}"#).into()
    };
    let send = |n| broker.send(Outbound { payload: range(n), ..Outbound::default() });
    let ids: Vec<String> = (0..RANGES).map(send).collect();
    let model = Classifier::pretrained()?;
    let images: Arc<[Image]> = vec![Image::new([1; Image::PIXELS]); IMAGES].into();
    let requests = Requests::new(&model, images);
    let run = Pipeline::new(broker.consumer(), model, requests, PipelineConfig::default());
    let ended = async {
        while broker.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    Runtime::new()?.block_on(run.run(ended))?;
    let answered: Vec<String> = broker
        .results()
        .iter()
        .map(|result| Ok(serde_json::from_slice::<ResultRecord>(&result.payload)?.id))
        .collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(answered == ids, "answered in another order: {answered:?}");
    let what = format!("{RANGES} large ranges at once, the first received finished first");
    let account = account(&broker, &ids)?;
    Ok(Row::new("memory, at least once".to_owned(), what, &account, begun.elapsed()))
}

/// Acknowledges some messages without an end, as no consumer of this project does, and checks that
/// the account names them: the judge of the other tests is not blind.
pub(crate) fn careless(random: &mut ChaCha8Rng) -> anyhow::Result<Row> {
    let _alone = alone();
    const MESSAGES: usize = 300;
    const LOST: usize = 3;
    let begun = Instant::now();
    let broker = MemoryBroker::new("CARELESS");
    let ids: Vec<String> = payloads(MESSAGES, random)
        .into_iter()
        .map(|payload| broker.send(Outbound { payload: payload.into(), ..Outbound::default() }))
        .collect();
    let mut lost: Vec<String> = ids.sample(random, LOST).cloned().collect();
    lost.sort();
    Runtime::new()?.block_on(acknowledge(&broker, &ids, &lost))?;
    let account = account(&broker, &ids)?;
    anyhow::ensure!(account.missing == lost, "{lost:?} are lost, not {:?}", account.missing);
    let what = format!("a careless consumer, to try the judge: {LOST} acknowledged and lost");
    Ok(Row::new("memory".to_owned(), what, &account, begun.elapsed()))
}

/// Gives every message but the lost a dead letter, and acknowledges all.
async fn acknowledge(broker: &MemoryBroker, ids: &[String], lost: &[String]) -> anyhow::Result<()> {
    let mut consumer = broker.consumer();
    let limits =
        Limits { max_messages: ids.len(), max_bytes: usize::MAX, max_wait: Duration::ZERO };
    let outcome = |delivery: Delivery<_>| {
        let outcome = match lost.contains(&delivery.id) {
            true => Outcome::Recorded,
            false => Outcome::Reject(Rejection::new(Stage::Decode, "only to have an end")),
        };
        (delivery, outcome)
    };
    let mut ended = 0;
    while ended < ids.len() {
        let batch: Vec<_> = consumer.recv(limits).await?.into_iter().map(outcome).collect();
        ended += batch.len();
        consumer.settle(batch).await?;
    }
    Ok(())
}

async fn die(broker: &MemoryBroker, point: FailPoint) -> anyhow::Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(pipeline(broker.consumer())?.run(async { drop(stopped.await) }));
    if point == FailPoint::InDrain {
        drop(stop);
        return died(timeout(PATIENCE, running).await?, point);
    }
    let died_here = died(timeout(PATIENCE, running).await?, point);
    drop(stop);
    died_here
}

fn died<O>(ended: Result<O, tokio::task::JoinError>, point: FailPoint) -> anyhow::Result<()> {
    let error = ended.err().ok_or_else(|| anyhow::anyhow!("it passed {}", point.as_str()))?;
    let payload = error.try_into_panic()?;
    let found = payload.downcast_ref::<FailPoint>();
    anyhow::ensure!(found == Some(&point), "died of {found:?} instead of {}", point.as_str());
    Ok(())
}

async fn end(broker: &MemoryBroker, ids: &[String]) -> anyhow::Result<Account> {
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(pipeline(broker.consumer())?.run(async { drop(stopped.await) }));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let account = account(broker, ids)?;
        if account.is_complete() {
            drop(stop);
            running.await??;
            return Ok(account);
        }
        anyhow::ensure!(Instant::now() < deadline, "lost: {}", named(&account.missing));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn account(broker: &MemoryBroker, ids: &[String]) -> anyhow::Result<Account> {
    let mut ledger = Ledger::default();
    ids.iter().for_each(|id| ledger.input(id));
    for result in broker.results() {
        let record: ResultRecord = serde_json::from_slice(&result.payload)?;
        ledger.result(&record.id);
    }
    for letter in broker.dead_letters() {
        ledger.dead_letter(letter.attributes.text("fmnist.id").unwrap_or("no id"));
    }
    Ok(ledger.account())
}
