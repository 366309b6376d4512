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
    /// How long answers took of late, and for how many images together.
    seconds: f64,
    answered: f64,
}

/// A request's images in the line, until it is dropped.
pub(crate) struct Share {
    line: Line,
    images: usize,
    before: usize,
    begun: Instant,
}

impl Line {
    /// How much an answer counts for beside the one after it.
    const REMEMBERED: f64 = 0.875;
    /// The images of a batch. To wait for one is no more than the model's way to work, and what few
    /// images take says little of what many take.
    const BATCH: usize = 256;

    /// Stands behind the images that are there, unless they take the model longer than `longest_wait`:
    /// who would wait in vain is told at once. An idle model takes whatever comes.
    pub(crate) fn enter(&self, images: usize, longest_wait: Duration) -> Option<Share> {
        let mut waiting = self.waiting();
        let before = waiting.images;
        let seconds = before as f64 * waiting.seconds / waiting.answered.max(1.0);
        if before >= Self::BATCH && seconds > longest_wait.as_secs_f64() {
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
        let answered = (self.before + self.images) as f64;
        let seconds = self.begun.elapsed().as_secs_f64();
        waiting.seconds = Line::REMEMBERED * waiting.seconds + seconds;
        waiting.answered = Line::REMEMBERED * waiting.answered + answered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(500);

    /// A model that takes ten milliseconds an image.
    fn slow() -> Line {
        let line = Line::default();
        *line.waiting() = Waiting { images: 0, seconds: 10.0, answered: 1_000.0 };
        line
    }

    #[test]
    fn who_would_wait_too_long_is_told_at_once_and_an_idle_model_takes_all() {
        let line = slow();
        let large = line.enter(10_000, LONGEST);
        assert!(large.is_some(), "nobody is before it");
        assert!(line.enter(1, LONGEST).is_none(), "a hundred seconds' work is before it");
        assert!(line.enter(1, Duration::from_secs(101)).is_some(), "it has the patience");
    }

    #[test]
    fn less_than_a_batch_is_waited_for_in_any_case() {
        let line = slow();
        let shares = [250, 5, 1].map(|images| line.enter(images, LONGEST));
        assert!(shares.iter().all(Option::is_some));
        assert!(line.enter(1, LONGEST).is_none(), "a whole one is before it");
    }

    #[test]
    fn what_is_not_known_yet_keeps_nobody_out_and_a_share_that_ends_is_learnt_from() {
        let line = Line::default();
        let shares: Vec<_> = (0..3).map_while(|_| line.enter(1_000, Duration::ZERO)).collect();
        assert_eq!(shares.len(), 3);
        drop(shares);
        assert!(line.waiting().seconds > 0.0);
        assert!(line.waiting().answered > 0.0);
        assert_eq!(line.waiting().images, 0);
    }
}
