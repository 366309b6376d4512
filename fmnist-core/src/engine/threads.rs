use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::available_parallelism,
};

use super::Plan;
use crate::image::Image;

/// The threads that compute: the caller's own, and a pool beside it.
///
/// A pool is shared by everything that it is given to; [`Threads::shared`] is the process's own, so
/// that two classifiers do not take every core twice.
#[derive(Clone)]
pub struct Threads {
    count: NonZeroUsize,
    /// One thread less than `count`; `None` where nothing is left for it to do.
    beside: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// Multiply-adds, some 80 µs, for which waking another thread pays.
    const WORTH_SHARING: usize = 3_000_000;

    /// A pool of its own: `count` threads compute, one of which is the caller's.
    ///
    /// If the system refuses the threads, the caller's computes alone, and that is logged.
    pub fn new(count: NonZeroUsize) -> Self {
        let pool = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count.get() - 1)
                .thread_name(|index| format!("fmnist-compute-{index}"))
                .build()
        };
        let beside = (count.get() > 1).then(pool).and_then(|pool| {
            pool.inspect_err(|error| tracing::warn!(%error, "computing on one thread")).ok()
        });
        Self { count, beside: beside.map(Arc::new) }
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
    pub(crate) fn logits(&self, plan: &Plan, images: &[Image], logits: &mut [f32]) {
        assert_eq!(logits.len(), images.len() * plan.classes(), "one logit for each class");
        let shares = images.len() * plan.multiply_adds() / Self::WORTH_SHARING;
        let helpers = (shares.max(1) - 1).min(self.count.get() - 1);
        let Some(pool) = self.beside.as_ref().filter(|_| helpers > 0) else {
            return plan.logits(images, logits);
        };
        // Whoever is done takes the next piece, so that a helper that wakes late holds nobody up;
        // four pieces a thread keep the last one short.
        let mut piece = images.len().div_ceil(4 * (helpers + 1));
        if piece > plan.chunk() {
            piece = piece.next_multiple_of(plan.chunk());
        }
        let pieces = images.chunks(piece).zip(logits.chunks_mut(piece * plan.classes()));
        let pieces = Mutex::new(pieces);
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let compute = || {
            while let Some((images, logits)) = next() {
                plan.logits(images, logits);
            }
        };
        pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| compute());
            }
            compute();
        });
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish_non_exhaustive()
    }
}
