//! Tables and plots of a run.

mod plot;

use std::{fs, path::Path};

use anyhow::{Context, bail};
use fmnist_benches::{Rounds, Table, grouped};

use crate::figures::{self, Backlog, Fault, Latency, Line, Peer};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architectures.md");
const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/img/architectures.svg");
const BEGIN: &str = "<!-- architectures: begin -->\n";
const END: &str = "<!-- architectures: end -->";
/// Fewer messages than this say nothing of the slowest one in a thousand, or in a hundred.
const ENOUGH_FOR_P999: usize = 5_000;
const ENOUGH_FOR_P99: usize = 500;
const MB: f64 = 1e6;

/// All lines of a run, apart.
#[derive(Default)]
struct Run {
    head: String,
    peers: Vec<Peer>,
    backlogs: Vec<Backlog>,
    latencies: Vec<Latency>,
    faults: Vec<Fault>,
    failed: Vec<String>,
}

pub(crate) fn run(lines: &Path, write: bool) -> anyhow::Result<()> {
    let run = Run::read(lines)?;
    let body = run.tables();
    println!("{body}");
    if write {
        let page = fs::read_to_string(PAGE).context(PAGE)?;
        let Some((before, rest)) = page.split_once(BEGIN) else { bail!("{PAGE} has no {BEGIN}") };
        let Some((_, after)) = rest.split_once(END) else { bail!("{PAGE} has no {END}") };
        fs::write(PAGE, format!("{before}{BEGIN}\n{body}\n{END}{after}")).context(PAGE)?;
        plot::draw(Path::new(PLOT), &run)?;
    }
    Ok(())
}

impl Run {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut run = Self::default();
        for line in figures::read(path)? {
            match line {
                Line::Run {
                    at,
                    machine,
                    seed,
                    rounds,
                    seconds,
                    away_seconds,
                    batch,
                    partitions,
                } => {
                    run.head = format!(
                        "`benches/architectures/run.sh`, {at}, {machine}. Seed {seed}, {rounds} rounds, \
                         loads of {seconds} s, faults of {away_seconds} s, batches of {batch}, \
                         {partitions} partitions."
                    );
                }
                Line::Peer(peer) => run.peers.push(peer),
                Line::Tried { .. } => {}
                Line::Backlog(backlog) => run.backlogs.push(backlog),
                Line::Latency(latency) => run.latencies.push(latency),
                Line::Fault(fault) => run.faults.push(fault),
                Line::Failed { peer, step, reason } => {
                    run.failed.push(format!("`{peer}` failed ({step}): {reason}."));
                }
            }
        }
        Ok(run)
    }

    fn tables(&self) -> String {
        let mut all = format!(
            "{}\n\n{}\n{}\n{}\n{}",
            self.head,
            self.settings(),
            self.throughput(),
            self.delays(),
            self.disturbed()
        );
        for failed in &self.failed {
            all.push_str(&format!("\n{failed}\n"));
        }
        all
    }

    fn settings(&self) -> Table {
        let heads = ["peer", "what", "fastest setting", "shipped, MB", "Python or Java, MB"];
        let mut table = Table::new(&heads, &[0, 1, 2]);
        for peer in &self.peers {
            let runtime = match peer.runtime_bytes {
                0 => "–".to_owned(),
                bytes => grouped(bytes as f64 / MB),
            };
            let shipped = grouped(peer.shipped_bytes as f64 / MB);
            table.row(&[&code(&peer.name), &peer.what, &peer.setting, &shipped, &runtime]);
        }
        table
    }

    fn throughput(&self) -> Table {
        let heads = [
            "a backlog",
            "messages/s",
            "÷ `embedded`",
            "beside their sender",
            "CPU s a million",
            "the broker's",
            "peak memory, MB",
            "first result after, s",
        ];
        let mut table = Table::new(&heads, &[0]);
        let embedded = self.of("embedded", |backlog| backlog.messages_per_second);
        for peer in &self.peers {
            let of = |figure: fn(&Backlog) -> f64| self.of(&peer.name, figure);
            let Some(speed) = of(|backlog| backlog.messages_per_second) else { continue };
            let ratio = embedded
                .as_ref()
                .map_or("–".to_owned(), |embedded| speed.relative_to(embedded).to_string());
            let shown = [
                of(|backlog| backlog.capacity_per_second),
                of(|backlog| backlog.cpu_seconds_per_million),
                of(|backlog| backlog.broker_cpu_seconds_per_million),
                of(|backlog| backlog.memory_bytes as f64 / MB),
                of(|backlog| backlog.first_result_seconds),
            ]
            .map(|rounds| rounds.map_or_else(String::new, |rounds| rounds.to_string()));
            let cells: Vec<&str> = shown.iter().map(String::as_str).collect();
            table.row(&[&[&*code(&peer.name), &speed.to_string(), &ratio], &*cells].concat());
        }
        table
    }

    /// A peer's figure in each round, in their order.
    fn of(&self, peer: &str, figure: impl Fn(&Backlog) -> f64) -> Option<Rounds> {
        let mut own: Vec<_> = self.backlogs.iter().filter(|own| own.peer == peer).collect();
        own.sort_by_key(|backlog| backlog.round);
        rounds(own.into_iter().map(figure))
    }

    fn delays(&self) -> Table {
        let heads = [
            "ms from due to readable",
            "load, %",
            "messages/s",
            "p50",
            "p99",
            "p99.9",
            "greatest",
            "missing",
            "CPU %",
        ];
        let mut table = Table::new(&heads, &[0]);
        for peer in &self.peers {
            let mut own: Vec<_> =
                self.latencies.iter().filter(|own| own.peer == peer.name).collect();
            own.sort_by_key(|latency| latency.percent);
            for own in own.chunk_by(|one, other| one.percent == other.percent) {
                let of = |figure: fn(&Latency) -> f64| {
                    rounds(own.iter().map(|own| figure(own)))
                        .map_or_else(String::new, |r| r.to_string())
                };
                let enough = |least: usize, shown: String| {
                    if own.iter().all(|own| own.sent >= least) { shown } else { "–".to_owned() }
                };
                let missing: usize = own.iter().map(|own| own.missing).sum();
                table.row(&[
                    &code(&peer.name),
                    &own[0].percent.to_string(),
                    &of(|own| own.messages_per_second),
                    &of(|own| own.p50_ms),
                    &enough(ENOUGH_FOR_P99, of(|own| own.p99_ms)),
                    &enough(ENOUGH_FOR_P999, of(|own| own.p999_ms)),
                    &of(|own| own.greatest_ms),
                    &missing.to_string(),
                    &of(|own| own.cpu_percent),
                ]);
            }
        }
        table
    }

    fn disturbed(&self) -> Table {
        let heads = [
            "what went wrong",
            "peer",
            "messages/s",
            "sent",
            "never answered",
            "answered twice",
            "dead letters",
            "restarts",
            "longest stall, s",
        ];
        let mut table = Table::new(&heads, &[0, 1]);
        for fault in &self.faults {
            table.row(&[
                &fault.fault,
                &code(&fault.peer),
                &grouped(fault.messages_per_second),
                &fault.sent.to_string(),
                &fault.missing.to_string(),
                &fault.doubled.to_string(),
                &fault.dead_letters.to_string(),
                &fault.restarts.to_string(),
                &grouped(fault.stalled_seconds),
            ]);
        }
        table
    }
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

fn rounds(figures: impl Iterator<Item = f64>) -> Option<Rounds> {
    let mut rounds = Rounds::default();
    let mut is_empty = true;
    for figure in figures {
        rounds.push(figure);
        is_empty = false;
    }
    (!is_empty).then_some(rounds)
}
