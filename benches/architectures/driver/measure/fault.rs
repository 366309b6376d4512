use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{Bench, Contender, session::Session};
use crate::{figures, process::Process};

/// Of an undisturbed load.
const BEFORE: Duration = Duration::from_secs(5);
const AFTERWARDS: Duration = Duration::from_secs(10);
/// A greater load would tell more of speed than of faults.
const MOST_MESSAGES_PER_SECOND: f64 = 1_000.0;
/// A process that ended is started again as an orchestrator would.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Without a new result, nothing more is expected: more than a session of a group and a slow start.
const PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The model's side stands still for a while.
    Stopped,
    /// The model's side is killed and comes back after a while.
    Killed,
    /// A message comes that nobody can answer.
    Poison,
    /// The consumer is killed and comes back at once.
    ConsumerKilled,
}

pub(super) const FAULTS: [Fault; 4] =
    [Fault::Stopped, Fault::Killed, Fault::Poison, Fault::ConsumerKilled];

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stopped => "model stopped",
            Self::Killed => "model killed",
            Self::Poison => "poison message",
            Self::ConsumerKilled => "consumer killed",
        }
    }
}

impl Bench<'_> {
    /// A steady load, in which something goes wrong.
    pub(super) fn fault(
        &self,
        contender: &Contender,
        fault: Fault,
    ) -> anyhow::Result<figures::Fault> {
        let mut session = Session::start(self, contender.peer, contender.setting)?;
        let away = Duration::from_secs(self.arguments.away);
        let rate = (contender.messages_per_second / 2.0).min(MOST_MESSAGES_PER_SECOND);
        let patience = PATIENCE.max(session.first_result * 3);
        let Session { consumer, server, reader, sender, .. } = &mut session;
        let (answered, doubled) = {
            let before = reader.answers();
            (before.answered, before.doubled)
        };
        let first = sender.next();
        let mut watch = Watch {
            consumer: Part::new(consumer),
            server: server.as_mut().map(Part::new),
            fault: Some(fault),
            away,
            restarts: 0,
        };
        let poison = (fault == Fault::Poison).then_some(BEFORE);
        let (lasting, seed) = (BEFORE + away + AFTERWARDS, self.arguments.seed);
        let begun = Instant::now();
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| sender.send_at_random(rate, lasting, seed, poison));
            while !sending.is_finished() {
                watch.look(begun.elapsed())?;
                thread::sleep(Duration::from_millis(5));
            }
            sending.join().ok().context("the sender panicked")?
        })?;
        let sent = sent.len();
        reader.wait(answered + sent, patience, || watch.look(begun.elapsed()))?;
        let restarts = watch.restarts;

        let (end, answers) = (Instant::now(), reader.answers());
        let mut times: Vec<_> =
            answers.first.iter().skip(first).flatten().map(|answer| answer.at).collect();
        times.sort_unstable();
        let missing = sent - times.len();
        if missing > 0 {
            times.push(end);
        }
        // Also the time from the last result before to the first behind it.
        let stall = times.array_windows().filter(|[_, after]| *after > begun + BEFORE);
        let stall = stall.map(|[before, after]| *after - *before).max().unwrap_or_default();
        Ok(figures::Fault {
            peer: contender.peer.name.to_owned(),
            fault: fault.name().to_owned(),
            messages_per_second: rate,
            sent,
            missing,
            doubled: answers.doubled - doubled,
            dead_letters: answers.dead_letters,
            restarts,
            stalled_seconds: stall.as_secs_f64(),
        })
    }
}

/// Does what goes wrong when it is time, and starts again what ended.
struct Watch<'a> {
    consumer: Part<'a>,
    server: Option<Part<'a>>,
    /// Not yet done.
    fault: Option<Fault>,
    away: Duration,
    /// Of what ended by itself.
    restarts: usize,
}

impl Watch<'_> {
    fn look(&mut self, elapsed: Duration) -> anyhow::Result<()> {
        if let Some(fault) = self.fault.take_if(|_| elapsed >= BEFORE) {
            // Where the model is in the consumer, that is its side.
            let model = self.server.as_mut().unwrap_or(&mut self.consumer);
            match fault {
                Fault::Stopped => model.stop(self.away),
                Fault::Killed => model.kill(self.away),
                Fault::Poison => {}
                Fault::ConsumerKilled => self.consumer.kill(Duration::ZERO),
            }
        }
        for part in [Some(&mut self.consumer), self.server.as_mut()].into_iter().flatten() {
            self.restarts += usize::from(part.look()?);
        }
        Ok(())
    }
}

struct Part<'a> {
    process: &'a mut Process,
    /// When it is started or goes on.
    away: Option<(Away, Instant)>,
}

#[derive(Clone, Copy)]
enum Away {
    Stopped,
    Ended,
}

impl<'a> Part<'a> {
    const fn new(process: &'a mut Process) -> Self {
        Self { process, away: None }
    }

    fn stop(&mut self, lasting: Duration) {
        self.process.signal("STOP");
        self.away = Some((Away::Stopped, Instant::now() + lasting));
    }

    fn kill(&mut self, lasting: Duration) {
        self.process.kill();
        self.away = Some((Away::Ended, Instant::now() + lasting));
    }

    /// Whether it has just been found to have ended by itself.
    fn look(&mut self) -> anyhow::Result<bool> {
        match self.away {
            Some((away, until)) if Instant::now() >= until => {
                match away {
                    Away::Stopped => self.process.signal("CONT"),
                    Away::Ended => self.process.again()?,
                }
                self.away = None;
                Ok(false)
            }
            None if self.process.has_ended() => {
                self.away = Some((Away::Ended, Instant::now() + RESTART_AFTER));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
