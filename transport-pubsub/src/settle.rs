//! How outcomes are carried out, at least once: the one task that publishes, and acknowledges what is confirmed.

mod chain;
mod outputs;

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, OnceLock},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics::Histogram;
use stream_inference::{
    Part,
    pipeline::Pulse,
    transport::{Delivery, Fate, Outcome, Settlement, TransportError},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, sleep_until},
};

use crate::{meters, token::PubSubToken};
use chain::{Attempt, Chain, Pending};
pub(crate) use outputs::Outputs;

/// Batches that are begun together at most.
const ROUND_BATCHES: usize = 64;

/// How long the next round waits for one that is not confirmed: what is accepted meanwhile goes
/// together, and a message that is not confirmed does not hold up the others for longer.
const GATHER: Duration = Duration::from_secs(1);

/// The pauses between attempts to publish one message.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A batch of outcomes, and who waits for it.
pub(crate) struct Job {
    pub(crate) batch: Vec<(Delivery<PubSubToken>, Outcome)>,
    pub(crate) done: oneshot::Sender<Result<Settlement, TransportError>>,
}

/// A job of which not every message has its end.
struct Waiter {
    done: oneshot::Sender<Result<Settlement, TransportError>>,
    settlement: Settlement,
    left: usize,
}

/// Carries out outcomes, those of a lane in the order of the calls.
///
/// What was accepted while one round is being confirmed makes up the next, so that throughput grows
/// with the load. A message whose result is not confirmed is held, and those behind it in its lane with
/// it: its lease goes on, which costs no delivery attempt, and the result is published again after a
/// pause that grows. Everything else goes on.
pub(crate) struct Settler {
    outputs: Arc<Outputs>,
    /// How long the results and dead letters of a round took to be confirmed, or not.
    published: Histogram,
    /// Who is told what is waited for.
    pulse: Arc<OnceLock<Pulse>>,
    waiters: HashMap<u64, Waiter>,
    last_job: u64,
    /// Lanes of which messages are on their way or held, with those that came after.
    lanes: HashMap<Arc<str>, VecDeque<Pending>>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Attempt> + Send>>>,
    held: Vec<Held>,
    round: Round,
    /// Messages that were given back because the transport drains.
    given_back: usize,
}

/// A chain that waits for its next attempt.
struct Held {
    chain: Chain,
    due: Instant,
}

/// The round that began last.
struct Round {
    number: u64,
    begun: Instant,
    /// Chains of it that are on their way.
    left: usize,
}

impl Settler {
    pub(crate) fn new(outputs: Outputs, pulse: Arc<OnceLock<Pulse>>) -> Self {
        Self {
            outputs: Arc::new(outputs),
            published: meters::publish_seconds(),
            pulse,
            waiters: HashMap::new(),
            last_job: 0,
            lanes: HashMap::new(),
            running: FuturesUnordered::new(),
            held: Vec::new(),
            round: Round { number: 0, begun: Instant::now(), left: 0 },
            given_back: 0,
        }
    }

    /// Runs until no more jobs can come and those that came are done; returns how many of their
    /// messages were given back.
    pub(crate) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, part: Part) -> usize {
        let mut accepted = Vec::new();
        let mut is_open = true;
        while is_open || !self.running.is_empty() {
            let next_round = self.round.begun + GATHER;
            let may_begin = self.round.left == 0 || Instant::now() >= next_round;
            let due = self.held.iter().map(|held| held.due).min();
            tokio::select! {
                Some(attempt) = self.running.next() => self.attempted(attempt, is_open),
                received = jobs.recv_many(&mut accepted, ROUND_BATCHES), if is_open && may_begin => {
                    is_open = received > 0;
                    if is_open {
                        self.begin(accepted.drain(..));
                    } else {
                        self.give_up();
                    }
                }
                () = sleep_until(next_round), if is_open && !may_begin => {}
                () = sleep_until(due.unwrap_or(next_round)), if due.is_some() => self.resume(),
            }
        }
        part.done();
        self.given_back
    }

    /// Begins a round.
    fn begin(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut chains: Vec<Chain> = Vec::new();
        let mut of_lane: HashMap<Arc<str>, usize> = HashMap::new();
        for Job { batch, done } in jobs {
            self.last_job += 1;
            let mut waiter = Waiter { done, settlement: Settlement::default(), left: 0 };
            let mut failure = None;
            for (delivery, outcome) in batch {
                // What is not kept is dropped here, and so given back at once: the later outcomes
                // of its lane see it.
                if delivery.token.is_stale(std::time::Instant::now()) {
                    waiter.settlement.count(Fate::Stale);
                    continue;
                }
                if outcome == Outcome::Retry || delivery.token.is_pulled_back() {
                    waiter.settlement.count(Fate::Retried);
                    continue;
                }
                let pending = match Pending::new(self.last_job, delivery, outcome, &self.outputs) {
                    Ok(pending) => pending,
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                waiter.left += 1;
                let Some(lane) = pending.lane() else {
                    chains.push(Chain::new(None, [pending].into()));
                    continue;
                };
                if let Some(&chain) = of_lane.get(&lane) {
                    chains[chain].pending.push_back(pending);
                } else if let Some(after) = self.lanes.get_mut(&lane) {
                    after.push_back(pending);
                } else {
                    of_lane.insert(Arc::clone(&lane), chains.len());
                    self.lanes.insert(Arc::clone(&lane), VecDeque::new());
                    chains.push(Chain::new(Some(lane), [pending].into()));
                }
            }
            self.waiters.insert(self.last_job, waiter);
            if let Some(error) = failure {
                self.fail(self.last_job, error);
            }
            self.answer(self.last_job);
        }
        let (number, left) = (self.round.number + 1, chains.len());
        self.round = Round { number, begun: Instant::now(), left };
        self.start(chains, number);
    }

    /// Starts an attempt of each chain; they share their requests.
    fn start(&mut self, chains: Vec<Chain>, round: u64) {
        if chains.is_empty() {
            return;
        }
        let rounds = self.outputs.rounds();
        for mut chain in chains {
            chain.round = round;
            let attempt = chain.attempt(Arc::clone(&self.outputs), Arc::clone(&rounds));
            self.running.push(Box::pin(attempt));
        }
    }

    /// An attempt is over: what is confirmed has its end, what is not is held.
    fn attempted(&mut self, attempt: Attempt, is_open: bool) {
        let Attempt { mut chain, ends, failed, fatal } = attempt;
        if chain.round == self.round.number {
            self.round.left -= 1;
            if self.round.left == 0 {
                self.published.record(self.round.begun.elapsed());
            }
        }
        for (job, fate) in ends {
            self.end(job, fate);
        }
        if let Some((job, error)) = fatal {
            self.fail(job, error);
            // What came after it in its lane comes again behind it.
            self.give_back(chain);
            return;
        }
        let after = chain.lane.as_ref().and_then(|lane| self.lanes.get_mut(lane));
        let mut after = after.map(std::mem::take).unwrap_or_default();
        if chain.pending.is_empty() {
            match (chain.lane, after.is_empty()) {
                (Some(lane), true) => drop(self.lanes.remove(&lane)),
                (lane, false) => self.start(vec![Chain::new(lane, after)], 0),
                (None, true) => {}
            }
            return;
        }
        chain.pending.append(&mut after);
        if !is_open {
            self.give_back(chain);
            return;
        }
        let Some((topic, error)) = failed else { return };
        let pause = FIRST_PAUSE.saturating_mul(1 << chain.failures.min(10)).min(LONGEST_PAUSE);
        // Once for all that fail together.
        if self.held.is_empty() {
            tracing::warn!(error, topic, ?pause, "not confirmed; held, to be published again");
        }
        chain.failures += 1;
        if chain.waiting.is_none() {
            let wait = |pulse: &Pulse| pulse.waits_for(&format!("topic {topic}"));
            chain.waiting = self.pulse.get().map(wait);
        }
        self.held.push(Held { chain, due: Instant::now() + pause });
    }

    /// Tries again what has waited for its time.
    fn resume(&mut self) {
        let now = Instant::now();
        let (due, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.due <= now);
        self.held = held;
        let mut chains = Vec::with_capacity(due.len());
        for Held { mut chain, .. } in due {
            if let Some(after) = chain.lane.as_ref().and_then(|lane| self.lanes.get_mut(lane)) {
                chain.pending.append(after);
            }
            chains.push(chain);
        }
        self.start(chains, 0);
    }

    /// No more jobs come: what is held has had its time.
    fn give_up(&mut self) {
        for Held { chain, .. } in std::mem::take(&mut self.held) {
            self.give_back(chain);
        }
    }

    fn give_back(&mut self, mut chain: Chain) {
        if let Some(mut after) = chain.lane.as_ref().and_then(|lane| self.lanes.remove(lane)) {
            chain.pending.append(&mut after);
        }
        for pending in chain.pending {
            self.given_back += 1;
            self.end(pending.job, Fate::Retried);
        }
    }

    fn end(&mut self, job: u64, fate: Fate) {
        let Some(Waiter { settlement, left, .. }) = self.waiters.get_mut(&job) else { return };
        *left -= 1;
        settlement.count(fate);
        self.answer(job);
    }

    /// Answers a job that has nothing left. Nobody waits where the future was dropped.
    fn answer(&mut self, job: u64) {
        if self.waiters.get(&job).is_some_and(|waiter| waiter.left == 0)
            && let Some(Waiter { done, settlement, .. }) = self.waiters.remove(&job)
        {
            let _ = done.send(Ok(settlement));
        }
    }

    /// Answers a job at once: the transport can't go on.
    fn fail(&mut self, job: u64, error: TransportError) {
        if let Some(Waiter { done, .. }) = self.waiters.remove(&job) {
            let _ = done.send(Err(error));
        }
    }
}
