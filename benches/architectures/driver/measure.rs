//! The run: settings are tried, then peers take turns, then things go wrong.

mod fault;
mod session;

use std::{collections::HashMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use fmnist_core::{Classifier, Image, dataset};

use crate::{
    Measure,
    figures::{self, Line, Lines},
    load::PARTITIONS,
    peers::{self, BATCH, Folders, PEERS, Peer, Setting},
};
use fault::FAULTS;
use session::Session;

/// Messages that are looked at one by one.
const CHECKED: usize = 1_000;
const LOADS_PERCENT: [u32; 3] = [10, 50, 80];
/// Long enough to tell settings apart.
const TRIAL: Duration = Duration::from_secs(4);
/// Classes closer than this may change places by rounding.
const ROUNDING: f32 = 1e-3;

/// What is the same for all.
struct Bench<'a> {
    arguments: &'a Measure,
    folders: Folders,
    logs: PathBuf,
    images: std::sync::Arc<[Image]>,
    /// Of each image, its class, and by how much it is the most probable.
    classes: Vec<(u8, f32)>,
    /// Messages a second by peer and setting, as an earlier run found them.
    tried: HashMap<(String, String), f64>,
}

/// A peer with the setting that was fastest.
struct Contender {
    peer: &'static Peer,
    setting: Setting,
    messages_per_second: f64,
}

pub(crate) fn run(arguments: &Measure) -> anyhow::Result<()> {
    let bench = Bench::new(arguments)?;
    let mut lines = Lines::create(&arguments.lines)?;
    lines.add(&Line::Run {
        at: fmnist_core::message::rfc3339(jiff::Timestamp::now()),
        machine: fmnist_benches::machine(),
        seed: arguments.seed,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        away_seconds: arguments.away,
        batch: BATCH,
        partitions: PARTITIONS,
    })?;
    let mut contenders = Vec::new();
    for peer in chosen(&arguments.only)? {
        if let Some(contender) = attempt(&mut lines, peer, "settings", |lines| {
            let contender = bench.fastest(peer, lines)?;
            let (shipped_bytes, runtime_bytes) = peer.shipped(&bench.folders);
            lines.add(&Line::Peer(figures::Peer {
                name: peer.name.to_owned(),
                what: peer.what.to_owned(),
                setting: contender.setting.to_string(),
                shipped_bytes,
                runtime_bytes,
            }))?;
            Ok(contender)
        })? {
            contenders.push(contender);
        }
    }
    let first = arguments.seed as usize % contenders.len().max(1);
    contenders.rotate_left(first);
    for round in 0..arguments.rounds {
        // In another order each time.
        let next = 1 % contenders.len().max(1);
        contenders.rotate_left(next);
        let mut left = Vec::new();
        for contender in contenders {
            let step = format!("round {round}");
            let measured = |lines: &mut Lines| bench.round(&contender, round, lines);
            if attempt(&mut lines, contender.peer, &step, measured)?.is_some() {
                left.push(contender);
            }
        }
        contenders = left;
    }
    for fault in FAULTS {
        for contender in &contenders {
            attempt(&mut lines, contender.peer, fault.name(), |lines| {
                lines.add(&Line::Fault(bench.fault(contender, fault)?))
            })?;
        }
    }
    Ok(())
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static Peer>> {
    for name in only {
        let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
        ensure!(known.contains(&&**name), "expected one of {}, found {name}", known.join(", "));
    }
    let is_chosen = |peer: &&Peer| only.is_empty() || only.iter().any(|name| name == peer.name);
    Ok(PEERS.iter().filter(is_chosen).collect())
}

/// A peer that fails is named as failed and holds up nobody else.
fn attempt<T>(
    lines: &mut Lines,
    peer: &Peer,
    step: &str,
    work: impl FnOnce(&mut Lines) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let now = fmnist_core::message::rfc3339(jiff::Timestamp::now());
    eprintln!("{now} {}: {step}", peer.name);
    match work(lines) {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let (peer, step, reason) = (peer.name.into(), step.into(), format!("{error:#}"));
            lines.add(&Line::Failed { peer, step, reason })?;
            Ok(None)
        }
    }
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a Measure) -> anyhow::Result<Self> {
        let images = dataset::open_or_synthetic(None)?.images;
        let images: std::sync::Arc<[Image]> = images[..CHECKED].into();
        let classes = Classifier::pretrained()?
            .classify(&images)?
            .iter()
            .map(|prediction| {
                let top = prediction.top(2);
                (prediction.class as u8, top[0].1 - top[1].1)
            })
            .collect();
        let logs = arguments.lines.with_extension("logs");
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let folders = Folders {
            made: arguments.folder.clone(),
            programs: arguments.programs.clone(),
            sources: peers::sources(),
        };
        let mut tried = HashMap::new();
        for line in arguments.tried.as_deref().map(figures::read).transpose()?.unwrap_or_default() {
            if let Line::Tried { peer, setting, messages_per_second } = line {
                tried.insert((peer, setting), messages_per_second);
            }
        }
        Ok(Self { arguments, folders, logs, images, classes, tried })
    }

    fn lasting(&self) -> Duration {
        Duration::from_secs(self.arguments.seconds)
    }

    /// Tries the settings of a peer.
    fn fastest(&self, peer: &'static Peer, lines: &mut Lines) -> anyhow::Result<Contender> {
        let settings = if self.arguments.untuned { &peer.settings[..1] } else { peer.settings };
        let mut fastest: Option<Contender> = None;
        for &setting in settings {
            let (name, tried) = (peer.name.to_owned(), setting.to_string());
            let messages_per_second = match self.tried.get(&(name.clone(), tried.clone())) {
                Some(speed) => *speed,
                None => {
                    let mut session = Session::start(self, peer, setting)?;
                    session.backlog(TRIAL.min(self.lasting()))?.messages_per_second
                }
            };
            lines.add(&Line::Tried { peer: name, setting: tried, messages_per_second })?;
            if fastest.as_ref().is_none_or(|one| messages_per_second > one.messages_per_second) {
                fastest = Some(Contender { peer, setting, messages_per_second });
            }
        }
        fastest.context("a peer without a setting")
    }

    /// Start, backlog and loads.
    fn round(&self, contender: &Contender, round: usize, lines: &mut Lines) -> anyhow::Result<()> {
        let mut session = Session::start(self, contender.peer, contender.setting)?;
        let backlog = session.backlog(self.lasting())?;
        let seed = self.arguments.seed + round as u64;
        let capacity_per_second =
            session.capacity(backlog.messages_per_second, self.lasting() / 2, seed)?;
        lines.add(&Line::Backlog(figures::Backlog { round, capacity_per_second, ..backlog }))?;
        for percent in LOADS_PERCENT {
            let rate = capacity_per_second * f64::from(percent) / 100.0;
            let latency = session.load(rate, self.lasting(), seed)?;
            lines.add(&Line::Latency(figures::Latency { round, percent, ..latency }))?;
        }
        Ok(())
    }
}
