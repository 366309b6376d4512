use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge};

use super::meters::Meters;

/// Whether a pipeline gets on: what a watchdog or `/livez` asks. Clones are the same pulse.
///
/// A pipeline that holds messages and settles none of them for [`Pulse::patience`] has stalled,
/// whatever holds it up: a broker that confirms nothing, a full queue, a model that hangs. An idle
/// one never stalls. A transport that lost its place at the broker says so with [`Pulse::cut_off`].
#[derive(Clone, Debug)]
pub struct Pulse {
    patience: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    is_full: bool,
    /// When a message was settled last, or received while there was none.
    moved: Instant,
    is_stalled: bool,
    stalls: u64,
    is_cut_off: bool,
    meters: Series,
}

/// Where the state is told, too.
#[derive(Debug)]
struct Series {
    stalls: Counter,
    stalled: Gauge,
    cut_off: Gauge,
}

/// What a [`Pulse`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Messages that were received and are not settled.
    pub in_flight: usize,
    /// No more may be received before some are settled.
    pub is_full: bool,
    /// Messages are in flight and none was settled for [`Pulse::patience`].
    pub is_stalled: bool,
    /// How often the pipeline has stalled.
    pub stalls: u64,
    /// The broker has given this consumer's work to others, and not taken it back yet.
    pub is_cut_off: bool,
}

impl Vitals {
    /// Whether the pipeline gets on, or has nothing to do.
    pub const fn is_well(&self) -> bool {
        !self.is_stalled && !self.is_cut_off
    }
}

impl Default for Pulse {
    /// A minute of patience: twice what a publication may take.
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Pulse {
    /// A pulse that takes so long without a settlement for a stall.
    pub fn new(patience: Duration) -> Self {
        let state = State {
            in_flight: 0,
            is_full: false,
            moved: Instant::now(),
            is_stalled: false,
            stalls: 0,
            is_cut_off: false,
            meters: Series {
                stalls: Counter::noop(),
                stalled: Gauge::noop(),
                cut_off: Gauge::noop(),
            },
        };
        Self { patience, state: Arc::new(Mutex::new(state)) }
    }

    /// How long nothing may be settled.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// The present state. A stall is counted and logged when it is first seen here.
    pub fn vitals(&self) -> Vitals {
        self.vitals_at(Instant::now())
    }

    fn vitals_at(&self, now: Instant) -> Vitals {
        let mut state = self.state();
        let silence = now.saturating_duration_since(state.moved);
        let is_stalled = state.in_flight > 0 && silence >= self.patience;
        if is_stalled && !state.is_stalled {
            state.stalls += 1;
            state.meters.stalls.increment(1);
            state.meters.stalled.set(1);
            tracing::error!(
                in_flight = state.in_flight,
                is_full = state.is_full,
                ?silence,
                "the pipeline has stalled: messages are in flight and none is settled"
            );
        }
        state.is_stalled = is_stalled;
        let State { in_flight, is_full, stalls, is_cut_off, .. } = *state;
        Vitals { in_flight, is_full, is_stalled, stalls, is_cut_off }
    }

    /// Says that the broker has given this consumer's work to others.
    pub fn cut_off(&self) {
        self.connection(true);
    }

    /// Says that this consumer has its place at the broker (again).
    pub fn connected(&self) {
        self.connection(false);
    }

    fn connection(&self, is_cut_off: bool) {
        let mut state = self.state();
        state.is_cut_off = is_cut_off;
        state.meters.cut_off.set(f64::from(u8::from(is_cut_off)));
    }

    /// Tells the state to these series, too, from now on.
    pub(super) fn measure(&self, meters: &Meters) {
        let mut state = self.state();
        state.meters = Series {
            stalls: meters.stalls.clone(),
            stalled: meters.stalled.clone(),
            cut_off: meters.cut_off.clone(),
        };
        state.meters.cut_off.set(f64::from(u8::from(state.is_cut_off)));
    }

    pub(super) fn received(&self, in_flight: usize, is_full: bool) {
        self.received_at(in_flight, is_full, Instant::now());
    }

    fn received_at(&self, in_flight: usize, is_full: bool, now: Instant) {
        let mut state = self.state();
        if state.in_flight == 0 {
            state.moved = now;
        }
        state.in_flight = in_flight;
        state.is_full = is_full;
    }

    pub(super) fn settled(&self, in_flight: usize) {
        self.settled_at(in_flight, Instant::now());
    }

    fn settled_at(&self, in_flight: usize, now: Instant) {
        let mut state = self.state();
        if state.is_stalled {
            state.meters.stalled.set(0);
            tracing::info!("the pipeline gets on again");
        }
        state.is_stalled = false;
        state.is_full = false;
        state.in_flight = in_flight;
        state.moved = now;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn messages_in_flight_without_a_settlement_are_a_stall_that_is_counted_once() {
        let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
        pulse.received_at(3, true, begun);
        let before = pulse.vitals_at(begun + PATIENCE - Duration::from_millis(1));
        let expected =
            Vitals { in_flight: 3, is_full: true, is_stalled: false, stalls: 0, is_cut_off: false };
        assert_eq!(before, expected);
        for later in [PATIENCE, 2 * PATIENCE] {
            let vitals = pulse.vitals_at(begun + later);
            assert_eq!(vitals, Vitals { is_stalled: true, stalls: 1, ..expected });
        }
        pulse.settled_at(2, begun + 3 * PATIENCE);
        let vitals = pulse.vitals_at(begun + 3 * PATIENCE);
        let after =
            Vitals { in_flight: 2, is_full: false, is_stalled: false, stalls: 1, ..expected };
        assert_eq!(vitals, after);
        assert_eq!(pulse.vitals_at(begun + 4 * PATIENCE).stalls, 2);
    }

    #[test]
    fn a_consumer_that_is_cut_off_is_not_well_until_it_is_connected_again() {
        let pulse = Pulse::new(PATIENCE);
        assert!(pulse.vitals().is_well());
        pulse.cut_off();
        assert!(pulse.vitals().is_cut_off && !pulse.vitals().is_well());
        // Settling what it still holds does not give it its place back.
        pulse.settled(0);
        assert!(!pulse.vitals().is_well());
        pulse.connected();
        assert!(pulse.vitals().is_well());
    }

    #[test]
    fn an_idle_pipeline_never_stalls_and_its_next_message_has_all_the_time() {
        let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
        assert!(!pulse.vitals_at(begun + 9 * PATIENCE).is_stalled);
        pulse.received_at(1, false, begun + 9 * PATIENCE);
        assert!(!pulse.vitals_at(begun + 9 * PATIENCE + PATIENCE / 2).is_stalled);
        // More messages do not hide that none is settled.
        pulse.received_at(2, false, begun + 9 * PATIENCE + PATIENCE / 2);
        assert!(pulse.vitals_at(begun + 10 * PATIENCE).is_stalled);
    }
}
