use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The images that wait for the model. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    images: usize,
    /// What an image took of late; unknown before the first.
    seconds_an_image: Option<f64>,
}

/// A request's images in the line, until it is dropped.
pub(crate) struct Share {
    line: Line,
    images: usize,
    before: usize,
    begun: Instant,
}

impl Line {
    /// The share of the newest answer in the average.
    const NEWEST: f64 = 0.125;

    /// Stands behind the images that are there, unless they take the model longer than `longest_wait`:
    /// who would wait in vain is told at once. An idle model takes whatever comes.
    pub(crate) fn enter(&self, images: usize, longest_wait: Duration) -> Option<Share> {
        let mut waiting = self.waiting();
        let before = waiting.images;
        let seconds = before as f64 * waiting.seconds_an_image.unwrap_or_default();
        if seconds > longest_wait.as_secs_f64() {
            return None;
        }
        waiting.images += images;
        Some(Share { line: self.clone(), images, before, begun: Instant::now() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting();
        waiting.images -= self.images;
        // Those before it were answered in the same time.
        let found = self.begun.elapsed().as_secs_f64() / (self.before + self.images).max(1) as f64;
        let average = waiting.seconds_an_image.unwrap_or(found);
        waiting.seconds_an_image = Some(average + Line::NEWEST * (found - average));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(505);

    #[test]
    fn who_would_wait_too_long_is_told_at_once_and_an_idle_model_takes_all() {
        let line = Line::default();
        line.waiting().seconds_an_image = Some(0.01);
        let large = line.enter(10_000, LONGEST);
        assert!(large.is_some(), "nobody is before it");
        assert!(line.enter(1, LONGEST).is_none(), "a hundred seconds' work is before it");
        drop(large);
        line.waiting().seconds_an_image = Some(0.01);
        let shares: Vec<_> = (0..50).map_while(|_| line.enter(1, LONGEST)).collect();
        assert_eq!(shares.len(), 50);
        let last = line.enter(1, LONGEST);
        assert!(last.is_some(), "half a second's work is before it");
        assert!(line.enter(1, LONGEST).is_none(), "more than that");
    }

    #[test]
    fn what_is_not_known_yet_keeps_nobody_out_and_a_share_that_ends_is_learnt_from() {
        let line = Line::default();
        let shares: Vec<_> = (0..3).map_while(|_| line.enter(1_000, Duration::ZERO)).collect();
        assert_eq!(shares.len(), 3);
        drop(shares);
        assert!(line.waiting().seconds_an_image.is_some());
        assert_eq!(line.waiting().images, 0);
    }
}
