//! A steady load for a long time: memory, lag and descriptors of the consumer have to stay as they
//! are.

mod plot;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::transport::Outbound;
use rand_chacha::ChaCha8Rng;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde::Serialize;

use crate::{
    cell::{all_ended, payloads, survivor},
    consumer::Kept,
    kafka::{Kafka, PARTITIONS, Way},
    report::named,
};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// The load is sent in so many portions a second.
const PORTIONS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// What the process may gain between the second quarter and the last.
const GROWTH_MEGABYTES: f64 = 8.0;

/// What the consumer was like at a moment.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) file_descriptors: usize,
    pub(crate) threads: usize,
    /// Sent and not committed.
    pub(crate) lag_messages: i64,
}

#[derive(Serialize)]
struct Report {
    seconds: u64,
    messages_a_second: usize,
    messages: usize,
    answered: usize,
    dead_letters: usize,
    missing: usize,
    duplicates: usize,
    second_quarter: Steady,
    last_quarter: Steady,
    samples: Vec<Sample>,
}

/// Means over a part of the time.
#[derive(Serialize)]
struct Steady {
    resident_megabytes: f64,
    file_descriptors: f64,
    lag_messages: f64,
}

impl Steady {
    fn of(samples: &[Sample]) -> Self {
        let mean =
            |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
        Self {
            resident_megabytes: mean(|sample| sample.resident_bytes as f64 / 1e6),
            file_descriptors: mean(|sample| sample.file_descriptors as f64),
            lag_messages: mean(|sample| sample.lag_messages as f64),
        }
    }
}

/// Runs for `minutes` and writes `soak.json` and `soak.svg` into `folder`.
pub(crate) fn run(
    minutes: u64,
    messages_a_second: usize,
    folder: &Path,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<()> {
    let mut cell = Kafka::new(Way::Timer)?;
    let mut consumer = Kept::start(survivor(&cell, "a"), log)?;
    let watch = Watch::new(&cell)?;
    let sent = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let length = Duration::from_secs(60 * minutes);

    let watching = thread::spawn({
        let (sent, is_over, process) =
            (Arc::clone(&sent), Arc::clone(&is_over), consumer.process());
        move || watch.samples(process, begun, &sent, &is_over)
    });
    while begun.elapsed() < length {
        // Those before this one, by the clock: a late portion does not make the load smaller.
        let due = (begun.elapsed().as_secs_f64() * messages_a_second as f64) as usize;
        let portion = payloads(due.saturating_sub(cell.ids.len()), random);
        let messages =
            portion.into_iter().map(|p| Outbound { payload: p.into(), ..Outbound::default() });
        let ids = cell.publish(messages.collect())?;
        cell.ids.extend(ids);
        sent.store(cell.ids.len(), Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1) / PORTIONS as u32);
    }
    is_over.store(true, Ordering::Relaxed);
    let samples = watching.join().map_err(|_| anyhow::anyhow!("the watch ended early"))??;
    let account = all_ended(&mut cell, &mut consumer)?;
    let restarts = consumer.end(PATIENCE)?.restarts;

    let quarter = samples.len() / 4;
    anyhow::ensure!(quarter > 1, "{} samples are too few to judge by", samples.len());
    let report = Report {
        seconds: length.as_secs(),
        messages_a_second,
        messages: account.inputs,
        answered: account.answered,
        dead_letters: account.dead_lettered,
        missing: account.missing.len(),
        duplicates: account.duplicates,
        second_quarter: Steady::of(&samples[quarter..2 * quarter]),
        last_quarter: Steady::of(&samples[3 * quarter..]),
        samples,
    };
    fs::create_dir_all(folder)?;
    fs::write(folder.join("soak.json"), serde_json::to_vec(&report)?)?;
    plot::draw(&folder.join("soak.svg"), &report.samples)?;
    println!(
        "{} messages in {} s: {} answered, {} dead letters, {} duplicates, missing {}",
        report.messages,
        report.seconds,
        report.answered,
        report.dead_letters,
        report.duplicates,
        named(&account.missing)
    );
    anyhow::ensure!(restarts == 0, "the consumer was started again {restarts} times");
    anyhow::ensure!(account.duplicates == 0, "{} duplicates", account.duplicates);
    judge(&report)
}

/// Compares the last quarter with the second; in the first, what is needed comes to be.
fn judge(report: &Report) -> anyhow::Result<()> {
    let grown = |what: &str, of: fn(&Steady) -> f64| {
        let (before, after) = (of(&report.second_quarter), of(&report.last_quarter));
        println!("{what}: {before:.1} in the second quarter, {after:.1} in the last");
        after - before
    };
    let memory = grown("resident MB", |steady| steady.resident_megabytes);
    let descriptors = grown("file descriptors", |steady| steady.file_descriptors);
    let lag = grown("lag in messages", |steady| steady.lag_messages);
    anyhow::ensure!(memory <= GROWTH_MEGABYTES, "memory grows");
    anyhow::ensure!(descriptors <= 1.0, "descriptors are not closed");
    // Offsets are committed every second, and the look at them comes at any time in between.
    anyhow::ensure!(lag <= report.messages_a_second as f64, "the lag grows");
    Ok(())
}

/// Looks at a consumer from outside.
struct Watch {
    group: BaseConsumer,
    topic: String,
}

impl Watch {
    fn new(cell: &Kafka) -> anyhow::Result<Self> {
        let group = ClientConfig::new()
            .set("bootstrap.servers", &cell.config.bootstrap_servers)
            .set("group.id", &cell.config.group_id)
            .create()?;
        Ok(Self { group, topic: cell.config.topic.clone() })
    }

    fn samples(
        &self,
        process: u32,
        begun: Instant,
        sent: &AtomicUsize,
        is_over: &AtomicBool,
    ) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let lag_messages = sent.load(Ordering::Relaxed) as i64 - self.committed()?;
            samples.push(Sample {
                seconds: begun.elapsed().as_secs_f64(),
                resident_bytes: 1024 * status(process, "VmRSS:")?,
                file_descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
                threads: status(process, "Threads:")? as usize,
                lag_messages: lag_messages.max(0),
            });
            thread::sleep(SAMPLE_INTERVAL);
        }
        Ok(samples)
    }

    fn committed(&self) -> anyhow::Result<i64> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        let found = self.group.committed_offsets(partitions, PATIENCE)?;
        let offset =
            |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
                .offset()
            {
                Offset::Offset(offset) => offset,
                _ => 0,
            };
        Ok(found.elements().into_iter().map(offset).sum())
    }
}

/// A number of `/proc/PID/status`.
fn status(process: u32, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name} of process {process}"))?.parse()?)
}
