//! A group of consumers, and what befalls it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_benches::Kafka;
use transport_kafka::{KafkaConfig, KafkaGuarantee};

use crate::{
    member::{CAPACITY, Member, Model, Settings},
    stream::{Reader, Seen, Source, numbered},
};

pub(crate) const PARTITIONS: i32 = 16;
const CONSUMERS: usize = 4;
/// Longer than a session.
const PATIENCE: Duration = Duration::from_secs(120);
/// Without a result for longer, a partition is paused.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a group is looked at after what befalls it, at least.
const AFTER: Duration = Duration::from_secs(10);

/// Fresh topics.
pub(crate) fn topics(guarantee: KafkaGuarantee) -> anyhow::Result<Kafka> {
    let fresh = Kafka::with_partitions(PARTITIONS);
    Ok(tokio::runtime::Runtime::new()?.block_on(fresh)?.with_guarantee(guarantee))
}

/// Consumers with numbers.
pub(crate) struct Group {
    kafka: KafkaConfig,
    model: Model,
    is_named: bool,
}

impl Group {
    pub(crate) const fn new(kafka: KafkaConfig, model: Model) -> Self {
        Self { kafka, model, is_named: false }
    }

    pub(crate) fn start(&self, number: usize) -> anyhow::Result<Member> {
        let mut kafka = self.kafka.clone();
        kafka.group_instance_id = self.is_named.then(|| format!("consumer-{number}"));
        Member::start(&Settings { kafka, number, model: self.model })
    }
}

/// Messages a second of so many consumers, from when all of them answer.
pub(crate) fn throughput(consumers: usize) -> anyhow::Result<f64> {
    const SECONDS: usize = 10;
    let kafka = topics(KafkaGuarantee::AtLeastOnce)?.config().clone();
    let messages = consumers * SECONDS * CAPACITY as usize;
    Source::new(&kafka, PARTITIONS)?.fill((0..messages).map(numbered))?;
    let reader = Reader::start(&kafka)?;
    let group = Group::new(kafka, Model::Waits);
    let _members = (0..consumers).map(|n| group.start(n)).collect::<anyhow::Result<Vec<_>>>()?;
    let seen = reader.until(PATIENCE, |seen| seen.len() >= messages)?;
    let mut working = BTreeSet::new();
    let all = seen.iter().position(|seen| {
        working.insert(seen.output.by);
        working.len() == consumers
    });
    let all = all.context("a consumer answered nothing")?;
    let time = seen[messages - 1].at - seen[all].at;
    Ok((messages - 1 - all) as f64 / time.as_secs_f64())
}

/// What befalls a group of four.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Nothing,
    /// A fifth comes.
    Join,
    /// One is told to end, by SIGTERM.
    Leave {
        is_named: bool,
    },
    /// One is killed and started again at once.
    Crash {
        is_named: bool,
    },
    /// One after the other is told to end and started again, as a new version is rolled out; they are named.
    Rolling,
}

/// What a reader sees of it.
pub(crate) struct Paused {
    pub(crate) longest: Duration,
    pub(crate) partitions: usize,
    pub(crate) doubled: usize,
    pub(crate) messages: usize,
}

impl Event {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing happens",
            Self::Join => "a fifth joins",
            Self::Leave { is_named: false } => "one leaves (SIGTERM)",
            Self::Leave { is_named: true } => "one leaves (SIGTERM), named",
            Self::Crash { is_named: false } => "one is killed",
            Self::Crash { is_named: true } => "one is killed, named, started again",
            Self::Rolling => "all are started anew, one by one, named",
        }
    }

    pub(crate) fn pause(self, guarantee: KafkaGuarantee) -> anyhow::Result<Paused> {
        let kafka = topics(guarantee)?.config().clone();
        let source = Source::new(&kafka, PARTITIONS)?;
        let reader = Reader::start(&kafka)?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let rate = CAPACITY * CONSUMERS as f64 / 2.0;
        let sending = thread::spawn(move || source.steady(rate, &until));
        let is_named = matches!(
            self,
            Self::Leave { is_named: true } | Self::Crash { is_named: true } | Self::Rolling
        );
        let group = Group { is_named, ..Group::new(kafka, Model::Waits) };
        let start = |number| group.start(number);
        let mut members = (0..CONSUMERS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        reader.until(PATIENCE, |seen| is_calm(seen, CONSUMERS))?;
        let event = Instant::now();
        let then = match self {
            Self::Nothing => CONSUMERS,
            Self::Join => {
                members.push(start(CONSUMERS)?);
                CONSUMERS + 1
            }
            Self::Leave { .. } => {
                members.remove(0).leave()?;
                CONSUMERS - 1
            }
            Self::Crash { is_named } => {
                drop(members.remove(0));
                members.push(start(if is_named { 0 } else { CONSUMERS })?);
                CONSUMERS
            }
            Self::Rolling => {
                for number in 0..CONSUMERS {
                    members.remove(0).leave()?;
                    let left = Instant::now();
                    members.push(start(number)?);
                    reader.until(PATIENCE, |seen| {
                        seen.iter().any(|seen| seen.output.by == number && seen.at > left)
                    })?;
                }
                CONSUMERS
            }
        };
        let calm = reader.until(PATIENCE, |seen| event.elapsed() > AFTER && is_calm(seen, then));
        if sending.is_finished() {
            sending.join().expect("it sends, it doesn't panic")?;
            anyhow::bail!("the source ended");
        }
        calm?;
        ended.store(true, Ordering::Relaxed);
        let messages = sending.join().expect("it sends, it doesn't panic")?;
        let seen = reader
            .until(PATIENCE, |seen| distinct(seen).len() == messages)
            .with_context(|| missing(&reader.so_far(), messages))?;
        let pauses = (0..PARTITIONS).map(|partition| pause(&seen, partition, event));
        let pauses: Vec<Duration> = pauses.collect();
        Ok(Paused {
            longest: pauses.iter().max().copied().unwrap_or_default(),
            partitions: pauses.iter().filter(|pause| **pause > PAUSE).count(),
            doubled: seen.len() - messages,
            messages,
        })
    }
}

/// Whether for two seconds each partition was answered, by one of so many consumers that share evenly.
fn is_calm(seen: &[Seen], consumers: usize) -> bool {
    const CALM: Duration = Duration::from_secs(2);
    let latest = seen.iter().rev().take_while(|seen| seen.at.elapsed() < CALM);
    let pairs: BTreeSet<(i32, usize)> =
        latest.map(|seen| (seen.partition, seen.output.by)).collect();
    let members: BTreeSet<usize> = pairs.iter().map(|(_, by)| *by).collect();
    let most = PARTITIONS as usize;
    let of = |member| pairs.iter().filter(|(_, by)| *by == member).count();
    pairs.len() == most
        && members.len() == consumers
        && members.iter().all(|member| of(*member) <= most.div_ceil(consumers))
}

fn distinct(seen: &[Seen]) -> BTreeSet<usize> {
    seen.iter().map(|seen| seen.output.n).collect()
}

/// What was not answered of so many messages, by partition.
fn missing(seen: &[Seen], messages: usize) -> String {
    let answered = distinct(seen);
    let mut missing = BTreeMap::<usize, Vec<usize>>::new();
    for n in (0..messages).filter(|n| !answered.contains(n)) {
        missing.entry(n % PARTITIONS as usize).or_default().push(n);
    }
    format!("not answered of {messages} messages, by partition: {missing:?}")
}

/// The longest time without a result of the partition after the event.
fn pause(seen: &[Seen], partition: i32, event: Instant) -> Duration {
    let mut last = event;
    let mut longest = Duration::ZERO;
    for seen in seen.iter().filter(|seen| seen.partition == partition && seen.at > event) {
        longest = longest.max(seen.at - last);
        last = seen.at;
    }
    longest
}
