//! How often messages failed: each by itself, and any of them in a row. The runner asks whether to try again;
//! what is remembered is bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::PipelineError;
use crate::transport::Rejection;

/// Failing messages that are remembered.
const REMEMBERED: usize = 10_000;
/// A message that has not come again for so long was ended by another consumer.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// Counts failures by id. A broker counts deliveries, which a message's neighbours raise as well:
/// one that is handed back pulls every later one of its lane back with it.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<String, Failed>);

#[derive(Debug)]
struct Failed {
    times: u32,
    latest: Instant,
}

impl Failures {
    /// Counts a failure; returns how many there were. Where more messages fail than are remembered,
    /// the broker's count of deliveries has to do, and a message without one has failed for good.
    pub(super) fn count(&mut self, id: &str, deliveries: Option<u32>, now: Instant) -> u32 {
        if let Some(failed) = self.0.get_mut(id) {
            failed.times += 1;
            failed.latest = now;
            return failed.times;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, failed| now.saturating_duration_since(failed.latest) < FORGOTTEN);
            if self.0.len() >= REMEMBERED {
                return deliveries.unwrap_or(u32::MAX);
            }
        }
        self.0.insert(id.to_owned(), Failed { times: 1, latest: now });
        1
    }

    /// The message has come to its end.
    pub(super) fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }
}

/// Messages that were refused without an answer in between.
pub(super) struct Refusals {
    in_a_row: u32,
    most: Option<u32>,
}

impl Refusals {
    /// None yet, and how many are too many.
    pub(super) const fn new(most: Option<u32>) -> Self {
        Self { in_a_row: 0, most }
    }

    /// Counts one; an error where there were too many.
    pub(super) fn count(&mut self, id: &str, rejection: &Rejection) -> Result<(), PipelineError> {
        self.in_a_row += 1;
        if self.most.is_none_or(|most| self.in_a_row < most) {
            return Ok(());
        }
        let (count, id) = (self.in_a_row, id.to_owned());
        let Rejection { stage, reason } = rejection.clone();
        Err(PipelineError::RefusedInARow { count, id, stage, reason })
    }

    pub(super) fn answered(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_that_a_neighbour_caused_are_no_failures() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.count("a", Some(7), now), 1);
        assert_eq!(failures.count("a", Some(9), now), 2);
        assert_eq!(failures.count("b", None, now), 1);
        failures.forget("a");
        assert_eq!(failures.count("a", Some(11), now), 1);
    }

    #[test]
    fn above_what_is_remembered_the_brokers_count_decides_and_old_failures_make_room() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for n in 0..REMEMBERED {
            assert_eq!(failures.count(&n.to_string(), None, now), 1);
        }
        assert_eq!(failures.count("late", Some(2), now), 2);
        assert_eq!(failures.count("late", None, now), u32::MAX);
        assert_eq!(failures.count("7", Some(9), now), 2, "what is remembered is counted");
        assert_eq!(failures.count("late", Some(9), now + FORGOTTEN), 1);
    }
}
