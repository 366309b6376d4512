//! The broker's part: lines that were read and have no end yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use fmnist_core::transport::{Delivery, Lane, Limits, Outbound, Source, TransportError};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// What results call this transport, and metrics would.
pub(crate) const NAME: &str = "stdio";
/// Lines held at most; reading goes on when some have an end.
pub(crate) const MOST_LINES: usize = 4_096;
/// Keys and attributes counted.
const MOST_BYTES: usize = 32 << 20;

/// The held lines. Clones are the same lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By number in the input, from 1.
    lines: BTreeMap<u64, Line>,
    /// Those of them that are with nobody.
    waiting: BTreeSet<u64>,
    bytes: usize,
    leases: u64,
    ended: Option<Result<(), Arc<io::Error>>>,
}

#[derive(Debug)]
struct Line {
    message: Outbound,
    lane: Lane,
    /// How often it was given back by itself, and not for an earlier line of its lane.
    failures: u32,
    /// Whoever has the line knows the number.
    lease: Option<u64>,
}

/// A claim on one line. Dropped without an outcome, it gives the line back.
#[derive(Debug)]
pub(crate) struct Claim {
    held: Held,
    number: u64,
    lease: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.held.give_back(self);
    }
}

impl Held {
    /// Takes a line in, once there is room for it; blocks until then.
    pub(crate) fn push(&self, number: u64, message: Outbound) {
        self.insert(number, message).waiting.insert(number);
        self.0.changed.notify_waiters();
    }

    /// As [`Held::push`], but the line is with the caller.
    pub(crate) fn push_leased(&self, number: u64, message: Outbound) -> Delivery<Claim> {
        let mut state = self.insert(number, message);
        self.deliver(&mut state, number)
    }

    fn insert(&self, number: u64, message: Outbound) -> MutexGuard<'_, State> {
        let full = |state: &mut State| state.lines.len() >= MOST_LINES || state.bytes >= MOST_BYTES;
        let waited = self.0.room.wait_while(self.state(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        // One lane for all lines without a key: their results come in the order of the lines.
        let key = message.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let lane = Lane::Key(key.as_ref().into());
        state.bytes += message.size_bytes();
        state.lines.insert(number, Line { message, lane, failures: 0, lease: None });
        state
    }

    /// There are no more lines, or they can't be read.
    pub(crate) fn end(&self, how: io::Result<()>) {
        self.state().ended = Some(how.map_err(Arc::new));
        self.0.changed.notify_waiters();
    }

    /// Resolves at the end of the input, when every line of it has its end.
    pub(crate) async fn finished(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.state().is_finished() {
                return;
            }
            changed.await;
        }
    }

    /// The number of the first line that was read and has no end.
    pub(crate) fn first_without_end(&self) -> Option<u64> {
        self.state().lines.keys().next().copied()
    }

    /// See [`fmnist_core::transport::Transport::recv`]: nothing is leased before it is returned, so
    /// a dropped future loses nothing.
    pub(crate) async fn lease(
        &self,
        limits: Limits,
    ) -> Result<Vec<Delivery<Claim>>, TransportError> {
        let mut deadline = None;
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let deliveries = {
                let mut state = self.state();
                let due = deadline.is_some_and(|deadline| Instant::now() >= deadline)
                    || limits.max_wait.is_zero()
                    || state.fills(limits);
                if due { self.take(&mut state, limits) } else { Vec::new() }
            };
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            let (is_waiting, failure) = {
                let state = self.state();
                (!state.waiting.is_empty(), state.ended.clone().and_then(Result::err))
            };
            match (is_waiting, failure) {
                (false, Some(error)) => {
                    let context = "the input can't be read to its end".to_owned();
                    return Err(TransportError::Fatal { context, source: Some(error.into()) });
                }
                (false, None) => changed.await,
                (true, _) => {
                    let deadline = deadline.get_or_insert_with(|| Instant::now() + limits.max_wait);
                    let _ = timeout_at(*deadline, changed).await;
                }
            }
        }
    }

    fn take(&self, state: &mut State, limits: Limits) -> Vec<Delivery<Claim>> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        while let Some(&number) = state.waiting.first() {
            bytes += state.lines[&number].message.size_bytes();
            let fits = deliveries.len() < limits.max_messages && bytes <= limits.max_bytes;
            if !deliveries.is_empty() && !fits {
                break;
            }
            state.waiting.remove(&number);
            deliveries.push(self.deliver(state, number));
        }
        deliveries
    }

    fn deliver(&self, state: &mut State, number: u64) -> Delivery<Claim> {
        state.leases += 1;
        let lease = state.leases;
        let line = state.lines.get_mut(&number).expect("the caller has seen it");
        line.lease = Some(lease);
        let Outbound { key, attributes, payload, .. } = line.message.clone();
        Delivery {
            id: format!("stdin/{number}"),
            source: Source {
                transport: NAME.into(),
                topic: "stdin".into(),
                partition: None,
                offset: i64::try_from(number).ok(),
                message_id: None,
            },
            lane: Some(line.lane.clone()),
            attempt: Some(line.failures + 1),
            key,
            attributes,
            payload,
            token: Claim { held: self.clone(), number, lease },
        }
    }

    /// Whether the claim still holds: no earlier line of its lane was given back since.
    pub(crate) fn is_held(&self, claim: &Claim) -> bool {
        self.state().has(claim)
    }

    /// The line has its end.
    pub(crate) fn release(&self, claim: &Claim) {
        let mut state = self.state();
        if state.has(claim)
            && let Some(line) = state.lines.remove(&claim.number)
        {
            state.bytes -= line.message.size_bytes();
        }
        drop(state);
        self.0.room.notify_all();
        self.0.changed.notify_waiters();
    }

    /// The line is to be delivered again, and after it every later one of its lane.
    pub(crate) fn give_back(&self, claim: &Claim) {
        let mut state = self.state();
        if !state.has(claim) {
            return;
        }
        let lane = state.lines[&claim.number].lane.clone();
        let State { lines, waiting, .. } = &mut *state;
        for (&number, line) in lines.range_mut(claim.number..) {
            if line.lane == lane && line.lease.take().is_some() {
                line.failures += u32::from(number == claim.number);
                waiting.insert(number);
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, claim: &Claim) -> bool {
        self.lines.get(&claim.number).is_some_and(|line| line.lease == Some(claim.lease))
    }

    fn is_finished(&self) -> bool {
        matches!(self.ended, Some(Ok(()))) && self.lines.is_empty()
    }

    /// Whether what waits fills the limits.
    fn fills(&self, limits: Limits) -> bool {
        let mut bytes = 0;
        let waiting = self.waiting.iter().enumerate();
        waiting.into_iter().any(|(messages, number)| {
            bytes += self.lines.get(number).map_or(0, |line| line.message.size_bytes());
            messages + 1 >= limits.max_messages || bytes >= limits.max_bytes
        })
    }
}
