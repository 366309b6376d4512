use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use fmnist_benches::{broker, cpu_seconds, memory_bytes, percentile};

use super::{Bench, CHECKED, ROUNDING};
use crate::{
    figures::{Backlog, Latency},
    load::{Reader, Sender, Topics},
    peers::{Commands, Peer, Setting},
    process::Process,
};

/// What may take this long without a result: loading TensorFlow on a busy machine.
const LONGEST_START: Duration = Duration::from_secs(120);
/// Without a new result, nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(15);
/// Looking at memory holds the process up for a moment.
const MEMORY_EVERY: Duration = Duration::from_secs(1);
/// The longest backlog: what a second of the fastest peer is many times over.
const MOST_MESSAGES: usize = 600_000;
const LEAST_MESSAGES: usize = 100;

/// A peer that runs, on topics of its own. What is dropped first is declared first.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) consumer: Process,
    pub(super) server: Option<Process>,
    pub(super) reader: Reader,
    pub(super) sender: Sender,
    /// From the start of its processes.
    pub(super) first_result: Duration,
    /// Of the messages that waited, behind the first.
    messages_per_second: f64,
    _topics: Topics,
}

impl Session {
    /// Starts a peer where [`CHECKED`] messages wait, and looks at its answers.
    pub(super) fn start(bench: &Bench<'_>, peer: &Peer, setting: Setting) -> anyhow::Result<Self> {
        let now = jiff::Timestamp::now().as_millisecond();
        let topics = Topics::create(&format!("{}-{now}", peer.name))?;
        let mut sender = Sender::new(&topics, Arc::clone(&bench.images))?;
        sender.fill(CHECKED)?;
        let reader = Reader::start(&topics)?;
        let Commands { server, consumer } =
            peer.commands(&bench.folders, &topics, setting, bench.arguments.threads())?;
        let log = |what: &str| -> PathBuf { bench.logs.join(format!("{}-{what}.log", peer.name)) };
        let begun = Instant::now();
        let server = server.map(|server| Process::start(server, &log("server"))).transpose()?;
        let consumer = Process::start(consumer, &log("consumer"))?;
        let name = peer.name.to_owned();
        let mut session = Self {
            name,
            consumer,
            server,
            reader,
            sender,
            first_result: Duration::ZERO,
            messages_per_second: 0.0,
            _topics: topics,
        };
        session.wait_for_start()?;
        let times: Vec<_> =
            session.reader.answers().first.iter().flatten().map(|answer| answer.at).collect();
        let first = *times.iter().min().context("no first result")?;
        let last = *times.iter().max().context("no first result")?;
        session.first_result = first.duration_since(begun);
        session.messages_per_second = CHECKED as f64 / last.duration_since(first).as_secs_f64();
        if peer.has_model() {
            session.check(&bench.classes)?;
        }
        Ok(session)
    }

    fn wait_for_start(&mut self) -> anyhow::Result<()> {
        let Self { consumer, server, reader, .. } = self;
        let is_complete = reader.wait(CHECKED, LONGEST_START, || {
            let ended = [Some(&mut *consumer), server.as_mut()];
            let ended = ended.into_iter().flatten().any(Process::has_ended);
            ensure!(!ended, "a process ended before it answered; its log says why");
            Ok(())
        })?;
        if !is_complete {
            bail!("of {CHECKED} messages, {} were answered", reader.answers().answered);
        }
        Ok(())
    }

    /// The same classes as this library's, but where two are as good as equally probable.
    fn check(&self, classes: &[(u8, f32)]) -> anyhow::Result<()> {
        let answers = self.reader.answers();
        let others =
            answers.first.iter().zip(classes).enumerate().filter(|(_, (answer, known))| {
                let class = answer.and_then(|answer| answer.class);
                class != Some(known.0) && (class.is_none() || known.1 > ROUNDING)
            });
        let others: Vec<_> = others.map(|(number, _)| number).collect();
        ensure!(others.is_empty(), "other classes than this library's for images {others:?}");
        Ok(())
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        let server = self.server.as_ref().map(Process::tree).unwrap_or_default();
        [self.consumer.tree(), server].concat()
    }

    /// Answers as many messages as it can in that time, all of them waiting.
    pub(super) fn backlog(&mut self, lasting: Duration) -> anyhow::Result<Backlog> {
        // What has just been started is slow at first; the second estimate is of a warm one.
        let warm = self.answer(lasting / 4, self.messages_per_second)?;
        self.answer(lasting, warm.messages_per_second)
    }

    fn answer(&mut self, lasting: Duration, expected: f64) -> anyhow::Result<Backlog> {
        let messages = (expected * lasting.as_secs_f64()) as usize;
        let messages = messages.clamp(LEAST_MESSAGES, MOST_MESSAGES);
        let processes = self.processes();
        let brokers: Vec<_> = broker().into_iter().collect();
        let cpu = || [cpu_seconds(&processes), cpu_seconds(&brokers)];
        let (before, first) = (cpu(), self.sender.next());
        let answered = self.reader.answers().answered;
        let begun = Instant::now();
        self.sender.fill(messages)?;
        let filled = Instant::now();
        let (mut memory, mut looked) = (memory_bytes(&processes), filled);
        let is_complete = self.reader.wait(answered + messages, 2 * PATIENCE, || {
            if looked.elapsed() > MEMORY_EVERY {
                (memory, looked) = (memory.max(memory_bytes(&processes)), Instant::now());
            }
            Ok(())
        })?;
        ensure!(is_complete, "a backlog of {messages} messages was not answered");
        let after = cpu();
        let answers = self.reader.answers();
        let times: Vec<_> = answers.first[first..].iter().flatten().map(|own| own.at).collect();
        let last = *times.iter().max().context("no results")?;
        // While messages still came in, the peer shared the cores with their sender.
        let alone = times.iter().filter(|at| **at > filled).count();
        let messages_per_second = match alone * 4 > messages {
            true => alone as f64 / last.duration_since(filled).as_secs_f64(),
            false => messages as f64 / last.duration_since(begun).as_secs_f64(),
        };
        let a_million = |which: usize| (after[which] - before[which]) / messages as f64 * 1e6;
        Ok(Backlog {
            peer: self.name.clone(),
            round: 0,
            messages,
            first_result_seconds: self.first_result.as_secs_f64(),
            messages_per_second,
            capacity_per_second: 0.0,
            cpu_seconds_per_million: a_million(0),
            broker_cpu_seconds_per_million: a_million(1),
            memory_bytes: memory,
        })
    }

    /// How many messages a second it answers while single ones come at `rate`, which is as many as it can or
    /// more: less than of a backlog, whose sender is done.
    pub(super) fn capacity(
        &mut self,
        rate: f64,
        lasting: Duration,
        seed: u64,
    ) -> anyhow::Result<f64> {
        let answered = self.reader.answers().answered;
        let (first, begun) = (self.sender.next(), Instant::now());
        let due = self.sender.send_at_random(rate, lasting, seed, None)?;
        let ended = Instant::now();
        let is_complete = self.reader.wait(answered + due.len(), PATIENCE, || Ok(()))?;
        ensure!(
            is_complete,
            "of {} messages at {rate:.0} a second, some were not answered",
            due.len()
        );
        // The first half is its start.
        let half = begun + ended.duration_since(begun) / 2;
        let answers = self.reader.answers();
        let times = answers.first[first..].iter().flatten().map(|own| own.at);
        let counted = times.filter(|at| (half..ended).contains(at)).count();
        ensure!(counted > 0, "no message was answered within {lasting:?}");
        Ok(counted as f64 / ended.duration_since(half).as_secs_f64())
    }

    /// Single messages at random times.
    pub(super) fn load(
        &mut self,
        rate: f64,
        lasting: Duration,
        seed: u64,
    ) -> anyhow::Result<Latency> {
        let processes = self.processes();
        let (before, begun) = (cpu_seconds(&processes), Instant::now());
        let (first, answered) = (self.sender.next(), self.reader.answers().answered);
        let due = self.sender.send_at_random(rate, lasting, seed, None)?;
        ensure!(!due.is_empty(), "no message in {lasting:?} at {rate} messages/s");
        self.reader.wait(answered + due.len(), PATIENCE, || Ok(()))?;
        let cpu = (cpu_seconds(&processes) - before) / begun.elapsed().as_secs_f64();
        let (now, answers) = (Instant::now(), self.reader.answers());
        let found = |number: usize| answers.first.get(first + number).copied().flatten();
        let missing = (0..due.len()).filter(|number| found(*number).is_none()).count();
        // One that never came was late by all the time that was waited for it.
        let latency = |(number, due): (usize, &Instant)| {
            let at = found(number).map_or(now, |answer| answer.at);
            at.saturating_duration_since(*due).as_secs_f64() * 1e3
        };
        let latencies: Vec<f64> = due.iter().enumerate().map(latency).collect();
        Ok(Latency {
            peer: self.name.clone(),
            round: 0,
            percent: 0,
            messages_per_second: rate,
            sent: due.len(),
            missing,
            p50_ms: percentile(&latencies, 50.0),
            p99_ms: percentile(&latencies, 99.0),
            p999_ms: percentile(&latencies, 99.9),
            greatest_ms: percentile(&latencies, 100.0),
            cpu_percent: cpu * 100.0,
        })
    }
}
