//! How large a batch may be where latency has a budget. Runner and batcher ask before each batch and tell
//! what it took; without a budget the answer is always the same.

use std::time::Duration;

use super::BatchConfig;

/// Learns what an input takes, and from that how many a batch may have.
///
/// An input waits at worst for a batch that is computed, for one that is ready behind it, and for its
/// own: a third of the budget each. Every message that waits has an input in the next batch all the
/// same, because to compute less than comes in would make the queue, and with it the wait, grow.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    max_inputs: usize,
    budget: Option<Duration>,
    seconds_an_input: Option<f64>,
}

impl Pace {
    const BATCHES_IN_BUDGET: f64 = 3.0;
    /// The share of the newest batch in the average.
    const NEWEST: f64 = 0.125;

    pub(crate) fn new(config: &BatchConfig) -> Self {
        Self {
            max_inputs: config.max_inputs.max(1),
            budget: config.latency_budget_ms.map(Duration::from_millis),
            seconds_an_input: None,
        }
    }

    /// Takes note of a batch.
    pub(crate) fn observe(&mut self, inputs: usize, took: Duration) {
        if inputs == 0 {
            return;
        }
        let found = took.as_secs_f64() / inputs as f64;
        let average = self.seconds_an_input.unwrap_or(found);
        self.seconds_an_input = Some(average + Self::NEWEST * (found - average));
    }

    /// Inputs of the next batch at most, while inputs of `messages` messages wait.
    pub(crate) fn limit(&self, messages: usize) -> usize {
        let Some(budget) = self.budget else { return self.max_inputs };
        let affordable = self.seconds_an_input.map_or(1, |seconds| {
            // At no time an input, the quotient is infinite and the cast saturates.
            (budget.as_secs_f64() / Self::BATCHES_IN_BUDGET / seconds) as usize
        });
        affordable.max(messages).clamp(1, self.max_inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(latency_budget_ms: Option<u64>) -> Pace {
        Pace::new(&BatchConfig { max_inputs: 256, latency_budget_ms, ..BatchConfig::default() })
    }

    #[test]
    fn without_a_budget_a_batch_is_as_large_as_it_may_be() {
        let mut pace = pace(None);
        pace.observe(256, Duration::from_secs(1));
        assert_eq!(pace.limit(1), 256);
    }

    #[test]
    fn three_batches_of_the_limit_fit_into_the_budget() {
        let mut pace = pace(Some(6));
        assert_eq!(pace.limit(0), 1, "nothing is known yet");
        for inputs in [1, 10, 40] {
            pace.observe(inputs, Duration::from_micros(50) * inputs as u32);
        }
        assert_eq!(pace.limit(1), 40);
    }

    #[test]
    fn the_limit_follows_the_model_and_forgets_a_hiccup() {
        let mut pace = pace(Some(6));
        pace.observe(10, Duration::from_micros(500));
        pace.observe(10, Duration::from_millis(50));
        assert!(pace.limit(1) < 10);
        (0..60).for_each(|_| pace.observe(10, Duration::from_micros(500)));
        assert!((38..=40).contains(&pace.limit(1)), "{}", pace.limit(1));
    }

    #[test]
    fn every_waiting_message_has_an_input_in_the_batch_up_to_the_maximum() {
        let mut pace = pace(Some(6));
        pace.observe(1, Duration::from_millis(1));
        assert_eq!([0, 1, 2, 100, 1_000].map(|waiting| pace.limit(waiting)), [2, 2, 2, 100, 256]);
    }

    #[test]
    fn a_model_that_takes_no_time_has_no_limit_of_its_own() {
        let mut pace = pace(Some(6));
        pace.observe(0, Duration::ZERO);
        pace.observe(8, Duration::ZERO);
        assert_eq!(pace.limit(1), 256);
    }
}
