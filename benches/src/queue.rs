use rand::{Rng, RngExt};

/// A consumer as a queue: it takes what waits, up to a batch, and needs for that a call and each input's
/// own time. A group falls into such queues, one a consumer, because a partition has one reader.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Inputs of a call at most.
    pub batch: usize,
    /// What a call takes by itself, in seconds.
    pub call: f64,
    /// What each of its inputs adds, in seconds.
    pub each: f64,
}

impl Server {
    /// Inputs a second at most.
    pub fn capacity(&self) -> f64 {
        self.batch as f64 / self.takes(self.batch)
    }

    fn takes(&self, inputs: usize) -> f64 {
        self.each.mul_add(inputs as f64, self.call)
    }

    /// From each input's arrival to the end of its call, in seconds, where `rate` inputs a second arrive by
    /// chance (a Poisson stream) at an idle consumer.
    pub fn latencies(&self, rate: f64, inputs: usize, random: &mut impl Rng) -> Vec<f64> {
        let mut now = 0.0;
        let arrivals = std::iter::repeat_with(|| {
            now -= (1.0 - random.random::<f64>()).ln() / rate;
            now
        });
        let arrivals: Vec<f64> = arrivals.take(inputs).collect();
        let mut latencies = Vec::with_capacity(inputs);
        let mut free: f64 = 0.0;
        while let Some(&first) = arrivals.get(latencies.len()) {
            let begins = free.max(first);
            let waiting = &arrivals[latencies.len()..];
            let taken = waiting.iter().take(self.batch).take_while(|at| **at <= begins).count();
            free = begins + self.takes(taken);
            latencies.extend(waiting[..taken].iter().map(|at| free - at));
        }
        latencies
    }
}

/// The share of a topic that the fullest of its consumers has: what it can't do, the group can't.
pub fn fullest(partitions: usize, consumers: usize) -> f64 {
    partitions.div_ceil(consumers) as f64 / partitions as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::percentile;

    const WAITS: Server = Server { batch: 16, call: 0.02, each: 0.0 };

    #[test]
    fn an_input_that_comes_alone_waits_for_its_own_call_alone() {
        let latencies = WAITS.latencies(0.1, 50, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(latencies.len(), 50);
        assert!(latencies.iter().all(|latency| (latency - 0.02).abs() < 1e-9), "{latencies:?}");
    }

    /// A queue M/D/1, whose mean wait is known: ρ / 2μ(1 − ρ) (Pollaczek and Khinchine).
    #[test]
    fn without_batches_the_mean_wait_is_that_of_the_formula() {
        let one = Server { batch: 1, call: 0.01, each: 0.0 };
        let latencies = one.latencies(80.0, 400_000, &mut ChaCha8Rng::seed_from_u64(2));
        let mean = latencies.iter().sum::<f64>() / latencies.len() as f64;
        let expected = 0.01 + 0.8 / (2.0 * 100.0 * 0.2);
        assert!((mean / expected - 1.0).abs() < 0.03, "{mean} s, {expected} s expected");
    }

    #[test]
    fn what_comes_faster_than_it_can_be_answered_waits_ever_longer() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(WAITS.capacity(), 800.0);
        let [below, above] = [700.0, 900.0].map(|rate| WAITS.latencies(rate, 80_000, &mut random));
        assert!(percentile(&below, 99.0) < 0.06, "{} s", percentile(&below, 99.0));
        // A hundred seconds' worth comes within 89.
        assert!((10.0..12.5).contains(&above[79_999]), "{} s", above[79_999]);
    }

    #[test]
    fn the_fullest_consumer_has_the_partition_that_is_over() {
        let shares = [1, 2, 3, 4, 6, 8, 16, 20].map(|consumers| fullest(16, consumers) * 16.0);
        assert_eq!(shares, [16.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 1.0]);
    }
}
