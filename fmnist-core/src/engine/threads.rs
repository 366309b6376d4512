//! Who computes a batch: the caller alone, or with helpers where that pays.

mod helpers;

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    thread::available_parallelism,
};

use helpers::Helpers;

use super::Plan;
use crate::image::Image;

/// The threads that compute: the caller's own, and helpers beside it.
///
/// Helpers are shared by everything that they are given to; [`Threads::shared`] is the process's
/// own, so that two classifiers do not take every core twice.
#[derive(Clone)]
pub struct Threads {
    count: NonZeroUsize,
    /// One less than `count`; `None` where nothing is left for them to do.
    helpers: Option<Arc<Helpers>>,
}

impl Threads {
    /// Multiply-adds, some 20 µs, for which another thread pays if it is awake.
    const WORTH_SHARING: usize = 1_000_000;
    /// Multiply-adds, some 600 µs, for which it pays to wake one, whose caches are cold, too.
    const WORTH_WAKING: usize = 30_000_000;

    /// `count` threads compute, one of which is the caller's.
    ///
    /// If the system refuses the threads, the caller's computes alone, and that is logged.
    pub fn new(count: NonZeroUsize) -> Self {
        let helpers =
            (count.get() > 1).then(|| Helpers::start(count.get() - 1)).and_then(|started| {
                started.inspect_err(|error| tracing::warn!(%error, "computing on one thread")).ok()
            });
        Self { count, helpers: helpers.map(Arc::new) }
    }

    /// The process's own: as many as there are physical cores, but no more than its quota allows.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Threads> = OnceLock::new();
        let physical = || NonZeroUsize::new(num_cpus::get_physical()).unwrap_or(NonZeroUsize::MIN);
        // The quota of a container counts in what is available, the kind of cores does not.
        let count = || available_parallelism().map_or(NonZeroUsize::MIN, |n| n.min(physical()));
        SHARED.get_or_init(|| Self::new(count())).clone()
    }

    /// How many threads compute.
    pub fn count(&self) -> NonZeroUsize {
        self.count
    }

    /// Computes the logits of a batch, split where that pays.
    ///
    /// # Shapes
    /// - `logits`: `[images, classes]` `f32`, any range
    ///
    /// # Panics
    /// If `logits` has another length.
    pub(crate) fn logits(&self, plan: &Arc<Plan>, images: &[Image], logits: &mut [f32]) {
        assert_eq!(logits.len(), images.len() * plan.classes(), "one logit for each class");
        let Some(helpers) = &self.helpers else {
            return plan.logits(images, logits);
        };
        let work = images.len() * plan.multiply_adds();
        let threads = (work / Self::WORTH_SHARING).min(images.len()).min(self.count.get());
        if threads > 1 && (work >= Self::WORTH_WAKING || helpers.are_busy()) {
            // Two pieces a thread keep short what is waited for in the end.
            helpers.logits(plan, images, logits, images.len().div_ceil(2 * threads));
        } else {
            plan.logits(images, logits);
        }
        helpers.finished();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish_non_exhaustive()
    }
}
