use std::time::Duration;

use super::{Pulse, Waiting, pulse::Place};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_tenth_of_a_second_to_five() {
        let mut pauses = Pauses::default();
        let milliseconds: Vec<_> = (0..8).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(milliseconds, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }
}
