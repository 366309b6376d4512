//! A broker with a guarantee, and what may be done to its consumers.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::{audit::Account, fail_points::FailPoint};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    consumer::{Broker, Consumer, Kept, Settings},
    report::{Row, named},
};

/// One image: one prediction.
pub(crate) const RANGE: &str = r#"{"start_idx": 0, "end_idx": 1}"#;
const POISON: &str = "{";
/// One message of so many can't be decoded.
const POISON_SHARE: u32 = 20;
/// Within it, Kafka keeps the partitions of a member that left or died.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a consumer may take to come to its fail point, or to its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may be answered while messages wait and nothing dies any more.
const END_PATIENCE: Duration = Duration::from_secs(120);

pub(crate) trait Cell {
    fn name(&self) -> String;

    /// How the consumer of that name connects.
    fn broker(&self, member: &str) -> Broker;

    /// Sends these payloads and counts them as inputs.
    fn send(&mut self, payloads: Vec<&'static str>) -> anyhow::Result<()>;

    /// What became of everything that was sent.
    fn account(&mut self) -> anyhow::Result<Account>;

    /// Whether doubles are a failure.
    fn is_exactly_once(&self) -> bool;

    /// The places that its consumers pass.
    fn points(&self) -> &'static [FailPoint];

    /// How often a consumer surely passes `point` while it answers [`Cell::messages_a_death`].
    fn passages(&self, point: FailPoint) -> u32;

    /// Messages that are sent before each death.
    fn messages_a_death(&self) -> usize;
}

/// Kills consumers at each fail point `hits` times, in an order that the seed decides.
pub(crate) fn fail_points(
    cell: &mut dyn Cell,
    hits: usize,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut deaths: Vec<FailPoint> =
        cell.points().iter().flat_map(|point| vec![*point; hits]).collect();
    deaths.shuffle(random);
    let mut hit = Vec::new();
    for point in deaths {
        cell.send(payloads(cell.messages_a_death(), random))?;
        let died = die(cell, point, random, log);
        died.with_context(|| format!("{}: {}", cell.name(), point.as_str()))?;
        hit.push(point);
    }
    let account = end(cell, log)?;
    let counts = cell.points().iter().map(|point| {
        let count = hit.iter().filter(|hit| *hit == point).count();
        (*point, count)
    });
    let what = counts.map(|(point, count)| format!("{} {count}", point.as_str()));
    let what = what.collect::<Vec<_>>().join(", ");
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// Payloads of which some are poison.
pub(crate) fn payloads(count: usize, random: &mut ChaCha8Rng) -> Vec<&'static str> {
    let mut payload = || if random.random_ratio(1, POISON_SHARE) { POISON } else { RANGE };
    (0..count).map(|_| payload()).collect()
}

/// Lets one consumer come to `point`, and checks that it died there.
fn die(
    cell: &mut dyn Cell,
    point: FailPoint,
    random: &mut ChaCha8Rng,
    log: &Path,
) -> anyhow::Result<()> {
    let passage = random.random_range(1..=cell.passages(point));
    let death = Some((point, passage));
    let mut victim = Consumer::start(&Settings { death, ..survivor(cell, "a") }, log)?;
    let mut other = None;
    match point {
        FailPoint::InDrain => {
            // In the midst of its work, as far as a moment can tell.
            std::thread::sleep(Duration::from_millis(random.random_range(200..1_500)));
            victim.terminate()?;
        }
        FailPoint::InRevoke => {
            // Until the victim has what members had that left before it.
            std::thread::sleep(SESSION_TIMEOUT + Duration::from_secs(2));
            cell.send(payloads(10 * cell.messages_a_death(), random))?;
            other = Some(Consumer::start(&survivor(cell, "b"), log)?);
        }
        _ => {}
    }
    let status = victim.ended(PATIENCE)?;
    anyhow::ensure!(is_aborted(status), "the consumer ended with {status} instead");
    if let Some(mut other) = other {
        other.terminate()?;
        let status = other.ended(PATIENCE)?;
        anyhow::ensure!(status.success(), "the second consumer ended with {status}");
    }
    Ok(())
}

pub(crate) fn survivor(cell: &dyn Cell, member: &str) -> Settings {
    Settings { broker: cell.broker(member), death: None }
}

fn is_aborted(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    status.signal() == Some(SIGABRT)
}

/// Lets a consumer answer what is left, and judges.
pub(crate) fn end(cell: &mut dyn Cell, log: &Path) -> anyhow::Result<Account> {
    let mut last = Kept::start(survivor(cell, "a"), log)?;
    let account = all_ended(cell, &mut last)?;
    last.end(PATIENCE)?;
    Ok(account)
}

/// Waits until everything that was sent has an end.
pub(crate) fn all_ended(cell: &mut dyn Cell, consumer: &mut Kept<'_>) -> anyhow::Result<Account> {
    let mut deadline = Instant::now() + END_PATIENCE;
    let mut least = usize::MAX;
    loop {
        consumer.revive()?;
        let account = match cell.account() {
            Ok(account) => account,
            // The broker may be away.
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => continue,
        };
        anyhow::ensure!(account.orphaned.is_empty(), "orphans: {}", named(&account.orphaned));
        if account.is_complete() {
            anyhow::ensure!(
                !cell.is_exactly_once() || account.is_exact(),
                "{} doubles under exactly once, such as {:?}",
                account.duplicates,
                account.doubled.first()
            );
            return Ok(account);
        }
        let Account { inputs, missing, .. } = &account;
        if missing.len() < least {
            least = missing.len();
            deadline = Instant::now() + END_PATIENCE;
        }
        anyhow::ensure!(Instant::now() < deadline, "lost of {inputs} messages: {}", named(missing));
        std::thread::sleep(Duration::from_millis(500));
    }
}
