//! Harm beyond fail points, most of it on a real Kafka.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::audit::Account;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    cell::{Cell, SESSION_TIMEOUT, all_ended, end, payloads, survivor},
    consumer::{Consumer, Ended, Kept},
    kafka::{Kafka, Way},
    network::Weather,
    report::Row,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ends consumers politely in the midst of their work: they exit with 0 and double nothing.
pub(crate) fn sigterm(
    cell: &mut dyn Cell,
    rounds: usize,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    for _ in 0..rounds {
        cell.send(payloads(cell.messages_a_death(), random))?;
        let mut consumer = Consumer::start(&survivor(cell, "a"), log)?;
        sleep(Duration::from_millis(random.random_range(100..1_000)));
        consumer.terminate()?;
        let status = consumer.ended(PATIENCE)?;
        anyhow::ensure!(status.success(), "SIGTERM ended a consumer with {status}");
    }
    let account = end(cell, log)?;
    anyhow::ensure!(account.is_exact(), "{} doubles after SIGTERM", account.duplicates);
    Ok(Row::new(cell.name(), format!("SIGTERM {rounds}"), &account, begun.elapsed()))
}

/// Consumers come, leave and are killed while messages arrive.
pub(crate) fn coming_and_going(
    cell: &mut dyn Cell,
    rounds: usize,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    const MEMBERS: [&str; 3] = ["a", "b", "c"];
    let begun = Instant::now();
    let mut running: [Option<Consumer>; 3] = [const { None }; 3];
    let (mut came, mut left, mut killed) = (0, 0, 0);
    for _ in 0..rounds {
        cell.send(payloads(cell.messages_a_death(), random))?;
        let who = random.random_range(0..MEMBERS.len());
        match running[who].take() {
            None => {
                running[who] = Some(Consumer::start(&survivor(cell, MEMBERS[who]), log)?);
                came += 1;
            }
            Some(consumer) if random.random_ratio(1, 2) => {
                consumer.kill()?;
                killed += 1;
            }
            Some(mut consumer) => {
                consumer.terminate()?;
                let status = consumer.ended(PATIENCE)?;
                anyhow::ensure!(status.success(), "SIGTERM ended a consumer with {status}");
                left += 1;
            }
        }
        sleep(Duration::from_millis(random.random_range(200..1_500)));
    }
    drop(running);
    let account = end(cell, log)?;
    let what = format!("consumers came {came}, left {left}, were killed {killed}");
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// Kills the broker in the midst of the work; it comes again after `away`.
pub(crate) fn broker_restarts(
    way: Way,
    rounds: usize,
    away: Duration,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    fs::write(broker_folder()?.join("away"), away.as_secs().to_string())?;
    let kill = |broker: &str| signal(broker, "-KILL");
    let (account, restarts) = harm_broker(&mut cell, rounds, kill, random, log)?;
    let away = away.as_secs();
    let what =
        format!("broker killed {rounds}, away {away} s each time; consumer restarted {restarts}");
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// The broker stands still while a consumer answers, whose client takes no more than a few results
/// before some are confirmed: that is backpressure, and no consumer ends of it.
pub(crate) fn full_queue(
    way: Way,
    rounds: usize,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    const QUEUE_MESSAGES: usize = 10;
    // The session bears it.
    const PAUSE: Duration = Duration::from_secs(4);
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    cell.consumers_with = vec![("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())];
    let stop = |broker: &str| pause_broker(broker, PAUSE);
    let (account, restarts) = harm_broker(&mut cell, rounds, stop, random, log)?;
    anyhow::ensure!(restarts == 0, "a full queue ended {restarts} consumers");
    let pause = PAUSE.as_secs();
    let what = format!(
        "a producer queue of {QUEUE_MESSAGES}, and the broker stopped {rounds} times for {pause} s"
    );
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// The broker stands still for longer than its own and the consumer's sessions last: its partitions
/// lose their leader, the consumer its place, and offsets that come late are fenced.
pub(crate) fn broker_stands_still(
    way: Way,
    rounds: usize,
    pause: Duration,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    let stop = |broker: &str| pause_broker(broker, pause);
    let (account, restarts) = harm_broker(&mut cell, rounds, stop, random, log)?;
    let pause = pause.as_secs();
    let what =
        format!("broker stopped {rounds} times for {pause} s; consumer restarted {restarts}");
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// Stops the broker's process for a while.
fn pause_broker(broker: &str, pause: Duration) -> anyhow::Result<()> {
    signal(broker, "-STOP")?;
    sleep(pause);
    signal(broker, "-CONT")
}

/// Does `harm` to the broker's process in the midst of the work, and waits each time until all is
/// answered; returns how often the consumer had to be started again.
fn harm_broker(
    cell: &mut Kafka,
    rounds: usize,
    harm: impl Fn(&str) -> anyhow::Result<()>,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<(Account, usize)> {
    let pid = broker_folder()?.join("pid");
    let mut consumer = Kept::start(survivor(cell, "a"), log)?;
    for _ in 0..rounds {
        cell.send(payloads(5_000, random))?;
        sleep(Duration::from_millis(random.random_range(100..600)));
        harm(fs::read_to_string(&pid)?.trim())?;
        all_ended(cell, &mut consumer)?;
    }
    let account = all_ended(cell, &mut consumer)?;
    Ok((account, consumer.end(PATIENCE)?.restarts))
}

fn broker_folder() -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(std::env::var("FMNIST_TEST_KAFKA_FOLDER")?))
}

fn signal(process: &str, signal: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([signal, process]).status()?;
    anyhow::ensure!(status.success(), "kill {signal} failed");
    Ok(())
}

/// Cuts every connection again and again, delays, and swallows everything for a while.
pub(crate) fn bad_weather(
    way: Way,
    black_hole: Duration,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    const CUTS: usize = 10;
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    let network = cell.network()?;
    let mut consumer = Kept::start(survivor(&cell, "a"), log)?;
    for _ in 0..CUTS {
        cell.send(payloads(1_000, random))?;
        network.cut();
        sleep(Duration::from_millis(random.random_range(100..600)));
    }
    all_ended(&mut cell, &mut consumer).context("after cuts")?;
    network.make(Weather::Slow(Duration::from_millis(200)));
    cell.send(payloads(1_000, random))?;
    all_ended(&mut cell, &mut consumer).context("with 200 ms delay")?;
    network.make(Weather::Fair);
    cell.send(payloads(2_000, random))?;
    network.make(Weather::BlackHole);
    sleep(black_hole);
    network.make(Weather::Fair);
    let account = all_ended(&mut cell, &mut consumer).context("after a black hole")?;
    let restarts = consumer.end(PATIENCE)?.restarts;
    let seconds = black_hole.as_secs();
    let what = format!(
        "network cut {CUTS}, delayed by 200 ms, a black hole for {seconds} s; consumer restarted \
         {restarts}"
    );
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// The results topic takes nothing for a while, and the broker all else: what was confirmed stays, and
/// what is in flight is held by the consumer that classified it, and published once.
pub(crate) fn results_are_not_taken(
    way: Way,
    away: Duration,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    // So that a consumer's client gives a record up several times.
    cell.consumers_with = vec![("message.timeout.ms", "2000".to_owned())];
    let network = cell.network()?;
    let mut consumer = Kept::start(survivor(&cell, "a"), log)?;
    cell.send(payloads(1_000, random))?;
    all_ended(&mut cell, &mut consumer).context("before the outage")?;
    let confirmed = cell.results()?.len();
    let results = cell.config.results_topic().unwrap_or_default();
    network.make(Weather::TakesNothing(results.to_owned()));
    cell.send(payloads(1_000, random))?;
    sleep(away);
    let found = cell.results()?.len();
    anyhow::ensure!(found == confirmed, "{found} results, and none after the first {confirmed}");
    network.make(Weather::Fair);
    let account = all_ended(&mut cell, &mut consumer)?;
    let Ended { restarts, images } = consumer.end(PATIENCE)?;
    anyhow::ensure!(restarts == 0, "an outage of the results topic ended {restarts} consumers");
    anyhow::ensure!(account.is_exact(), "{} doubles of what was held", account.duplicates);
    let answered = account.inputs - account.dead_lettered;
    anyhow::ensure!(images == answered, "{images} images classified for {answered} answers");
    let seconds = away.as_secs();
    let what = format!("results topic took nothing for {seconds} s, and each was classified once");
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// A second consumer takes the partition that fills the first one's buffer: what the first one keeps is
/// read on.
pub(crate) fn scaled_under_backlog(
    way: Way,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    /// Several times what a consumer buffers.
    const BACKLOG: usize = 60_000;
    /// Of two members' partitions, the assignor takes the first ones from the older member.
    const FULL: i32 = 0;
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    cell.send_to(FULL, payloads(BACKLOG, random))?;
    let mut first = Kept::start(survivor(&cell, "a"), log)?;
    // It has joined, and its buffer is full.
    sleep(Duration::from_secs(4));
    let second = Consumer::start(&survivor(&cell, "b"), log)?;
    // It has what it gets.
    sleep(SESSION_TIMEOUT);
    cell.send(payloads(400, random))?;
    let account = all_ended(&mut cell, &mut first)?;
    drop(second);
    let restarts = first.end(PATIENCE)?.restarts;
    let what = format!(
        "scaled from 1 to 2 under a backlog of {BACKLOG} in one partition; consumer restarted {restarts}"
    );
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// Nothing but poison.
pub(crate) fn poison_alone(
    cell: &mut dyn Cell,
    messages: usize,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    cell.send(vec!["{"; messages])?;
    let account = end(cell, log)?;
    let Account { dead_lettered, .. } = account;
    anyhow::ensure!(dead_lettered == messages, "{dead_lettered} dead letters");
    Ok(Row::new(cell.name(), "poison 100 %".to_owned(), &account, begun.elapsed()))
}

/// A results topic that vanishes: the consumer stops with an error, and nothing is acknowledged.
pub(crate) fn results_topic_vanishes(way: Way, log: &Path) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    let mut consumer = Consumer::start(&survivor(&cell, "a"), log)?;
    cell.delete_results_topic()?;
    cell.send(payloads_without_poison(500))?;
    let status = consumer.ended(PATIENCE * 2)?;
    anyhow::ensure!(status.code() == Some(1), "the consumer ended with {status}");
    let mut refused = Consumer::start(&survivor(&cell, "a"), log)?;
    let status = refused.ended(PATIENCE)?;
    anyhow::ensure!(status.code() == Some(1), "a consumer without the topic: {status}");
    cell.create_topics()?;
    let account = end(&mut cell, log)?;
    let what = "results topic deleted, created again".to_owned();
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

fn payloads_without_poison(count: usize) -> Vec<&'static str> {
    vec![crate::cell::RANGE; count]
}
