//! Whether a pipeline gets on: told by the loop and its threads, by transports and sinks, asked by watchdogs
//! and probes. It never stops anything; what it has under its lock judges by times that it is given.

mod state;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

pub(super) use state::Place;
use state::State;
pub use state::Vitals;
use tokio::time::Instant;

use crate::lock::Sound;

/// Whether a pipeline gets on: what a watchdog, `/livez` and `/readyz` ask. Clones are the same pulse.
///
/// A pipeline has *stalled* when for [`Pulse::patience`] no message has come to an end (published,
/// recorded, dead-lettered) and no input has moved through the model, although messages are in
/// flight; when the sink or the broker has confirmed nothing of what it was given; when all that is
/// settled has been handed back, however often it was classified in between; or when something outside
/// has been waited for. That is readiness and a metric:
/// a restart mends no broker and no database. An idle pipeline does not stall.
///
/// A part *hangs* that was given work and gives nothing back: the decoder or the model. A transport
/// that lost its place at the broker says so with [`Pulse::cut_off`]. Those two are liveness.
///
/// Transports and sinks name what they wait for:
///
/// ```
/// use std::time::Duration;
///
/// use stream_inference::pipeline::Pulse;
///
/// let pulse = Pulse::new(Duration::ZERO);
/// let waiting = pulse.waits_for("results topic INFERENCE-RESULTS");
/// let vitals = pulse.vitals();
/// assert!(vitals.is_stalled && vitals.is_alive());
/// let reason = vitals.reason.unwrap_or_default();
/// assert!(reason.starts_with("waits for results topic INFERENCE-RESULTS"), "{reason}");
/// drop(waiting);
/// assert!(pulse.vitals().is_well());
/// ```
#[derive(Clone, Debug)]
pub struct Pulse {
    patience: Duration,
    state: Arc<Mutex<State>>,
}

/// Something outside is waited for until this is dropped, see [`Pulse::waits_for`].
#[derive(Debug)]
#[must_use = "the wait is over when this is dropped"]
pub struct Waiting {
    pulse: Pulse,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pulse.change(|state, now| state.resume(self.number, now));
    }
}

impl Default for Pulse {
    /// A minute of patience: twice what a publication may take.
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Pulse {
    /// A pulse that takes so long without an end for a stall, and without an answer for a hang.
    pub fn new(patience: Duration) -> Self {
        Self { patience, state: Arc::new(Mutex::new(State::new(Instant::now()))) }
    }

    /// How long nothing may come to an end.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// The present state. A stall is counted and logged when it is first seen here.
    pub fn vitals(&self) -> Vitals {
        self.vitals_at(Instant::now())
    }

    fn vitals_at(&self, now: Instant) -> Vitals {
        self.state().look(now, self.patience)
    }

    /// Says that messages wait for something outside, such as `results topic INFERENCE-RESULTS`,
    /// until what it returns is dropped. After [`Pulse::patience`] that is a stall, whatever else gets on.
    ///
    /// Hold it until what is waited for has answered: over all attempts, not for one at a time. Any
    /// number may wait at once, for the same or for other things. It takes a lock and an allocation,
    /// so it is for a batch or for the first failure, not for each message.
    pub fn waits_for(&self, dependency: &str) -> Waiting {
        self.waits_at(None, dependency)
    }

    /// As [`Pulse::waits_for`], for what the thread of a place waits for: it does not hang then.
    pub(super) fn waits_at(&self, place: Option<Place>, dependency: &str) -> Waiting {
        let number = self.state().wait(place, dependency, Instant::now());
        Waiting { pulse: self.clone(), number }
    }

    /// Tells the state to the series of a pipeline over this transport, too, from now on: those of the
    /// present recorder. A pipeline that runs does so; call it before where there is something to wait
    /// for until then. The label is what [`Transport::NAME`](crate::transport::Transport::NAME) is.
    pub fn measure(&self, transport: &str) {
        self.state().measure(transport);
    }

    /// The pipeline has ended: what it left is nobody's work any more.
    pub(super) fn ended(&self) {
        self.state().end();
    }

    /// Says that the broker has given this consumer's work to others.
    pub fn cut_off(&self) {
        self.state().connection(true);
    }

    /// Says that this consumer has its place at the broker (again).
    pub fn connected(&self) {
        self.state().connection(false);
    }

    /// So many messages were received, and are with the decoder; so many are in flight now.
    pub(super) fn received(&self, messages: usize, in_flight: usize, is_full: bool) {
        self.change(|state, now| state.received(in_flight, messages, is_full, now));
    }

    /// Nothing could be received, and why.
    pub(super) fn unreachable(&self, error: &dyn std::error::Error) {
        self.change(|state, now| state.unreachable(error.to_string(), now));
    }

    /// Work was given to a part, in whatever unit it comes back.
    pub(super) fn enter(&self, place: Place, count: usize) {
        self.change(|state, now| state.enter(place, count, now));
    }

    /// Work came back from a part.
    pub(super) fn leave(&self, place: Place, count: usize) {
        self.change(|state, now| state.leave(place, count, now));
    }

    /// A batch was settled: so many messages are in flight now, so many came to an end, and so many
    /// are to be delivered again, because of `reason` where that is known.
    pub(super) fn settled(
        &self,
        in_flight: usize,
        ended: usize,
        handed_back: usize,
        reason: Option<String>,
    ) {
        self.change(|state, now| {
            state.leave(Place::Settle, 1, now);
            state.settled(in_flight, ended, now);
            if ended == 0 && handed_back > 0 {
                state.handed_back(handed_back, reason, now);
            }
        });
    }

    /// Applies `change`; a stall that it ends is over at once, not when somebody next looks.
    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let now = Instant::now();
        let mut state = self.state();
        change(&mut state, now);
        if state.is_stalled() {
            state.look(now, self.patience);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().sound()
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between attempts, each twice as long as the one before, from 100 ms to 5 s.
#[derive(Debug, Default)]
pub(super) struct Pauses(Option<Duration>);

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        *self.0.insert(pause)
    }
}

/// While it lives after its first pause, the model can't answer, and the pulse says so.
pub(super) struct Outage<'a> {
    pulse: &'a Pulse,
    pauses: Pauses,
    waiting: Option<Waiting>,
    /// In a pause the thread does not hang; while the model is asked again it may.
    pausing: Option<Waiting>,
}

impl<'a> Outage<'a> {
    pub(super) fn new(pulse: &'a Pulse) -> Self {
        Self { pulse, pauses: Pauses::default(), waiting: None, pausing: None }
    }

    /// The pause is over.
    pub(super) fn try_again(&mut self) {
        self.pausing = None;
    }

    /// The model could not answer; how long to wait before it is asked again.
    pub(super) fn pause(&mut self, model: &str, reason: &str) -> Duration {
        let what = format!("model {model} ({reason})");
        self.pausing = Some(self.pulse.waits_at(Some(Place::Infer), &what));
        self.waiting.get_or_insert_with(|| self.pulse.waits_for(&what));
        let pause = self.pauses.next();
        tracing::warn!(model, reason, ?pause, "the model can't answer; its batch is kept");
        pause
    }
}
