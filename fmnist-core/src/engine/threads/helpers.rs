//! The threads beside the caller's, and the batches that they help with, piece by piece. To wake one takes 50
//! µs, and its caches are cold, so that a helper looks for the next batch for a while before it sleeps;
//! rayon's pool, which sleeps sooner and waits for helpers that come late, took 1.2 times as long as one
//! thread where batches come alone.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{engine::Plan, image::Image};

/// Threads that wait for batches, until this is dropped.
pub(super) struct Helpers(Arc<Queue>);

/// What helpers look at.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether `state` has batches: what a helper that is awake asks without a lock.
    offers: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Those with pieces left, as far as known; one a caller.
    batches: VecDeque<Arc<Batch>>,
    sleeping: usize,
    stopped: bool,
    /// When a caller had its last logits.
    last_end: Option<Instant>,
}

impl Helpers {
    /// How long a helper stays awake behind a batch: to wake it takes some 50 µs.
    const LINGER: Duration = Duration::from_micros(200);

    /// Starts `count` threads; fails only if the system starts none.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let helpers = Self(Arc::default());
        for index in 0..count {
            let queue = Arc::clone(&helpers.0);
            let name = format!("fmnist-compute-{index}");
            match thread::Builder::new().name(name).spawn(move || queue.work()) {
                Ok(_) => {}
                Err(error) if index == 0 => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "computing with {index} helpers instead of {count}");
                    break;
                }
            }
        }
        Ok(helpers)
    }

    /// Whether batches come one upon the other, so that who helped with the last is still awake.
    pub(super) fn are_busy(&self) -> bool {
        self.0.lock().last_end.is_some_and(|end| end.elapsed() < Self::LINGER)
    }

    /// Takes note that a caller has its logits.
    pub(super) fn finished(&self) {
        self.0.lock().last_end = Some(Instant::now());
    }

    /// Computes a batch's logits on this thread and on helpers, `piece` images at a time; a helper
    /// that wakes late finds nothing left and delays nobody.
    ///
    /// # Panics
    /// If a helper panicked over it.
    pub(super) fn logits(
        &self,
        plan: &Arc<Plan>,
        images: &[Image],
        logits: &mut [f32],
        piece: usize,
    ) {
        let batch = Arc::new(Batch::new(plan, images, piece));
        self.0.offer(&batch);
        let size = piece * plan.classes();
        while let Some(index) = batch.claim() {
            let range = index * size..logits.len().min((index + 1) * size);
            plan.logits(batch.piece(index), &mut logits[range]);
            batch.done(index, Done::InPlace);
        }
        self.0.withdraw(&batch);
        for (done, logits) in batch.done.iter().zip(logits.chunks_mut(size)) {
            // A helper is in the middle of it: less than a piece's time.
            let done = loop {
                match done.get() {
                    Some(done) => break done,
                    None => thread::yield_now(),
                }
            };
            match done {
                Done::InPlace => {}
                Done::Beside(computed) => logits.copy_from_slice(computed),
                Done::Panicked => panic!("a thread that helped to compute a batch panicked"),
            }
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, batch: &Arc<Batch>) {
        let mut state = self.lock();
        state.batches.push_back(Arc::clone(batch));
        self.offers.store(true, Ordering::Release);
        // Whoever is awake comes by itself.
        for _ in 0..state.sleeping.min(batch.done.len() - 1) {
            self.changed.notify_one();
        }
    }

    fn withdraw(&self, batch: &Arc<Batch>) {
        let mut state = self.lock();
        state.batches.retain(|offered| !Arc::ptr_eq(offered, batch));
        self.offers.store(!state.batches.is_empty(), Ordering::Release);
    }

    /// A helper's life.
    fn work(&self) {
        while let Some(batch) = self.next() {
            while let Some(index) = batch.claim() {
                batch.done(index, batch.compute(index));
            }
            self.withdraw(&batch);
        }
    }

    /// Waits for a batch, awake for a while, then asleep; `None` at the end.
    fn next(&self) -> Option<Arc<Batch>> {
        let idle_since = Instant::now();
        while idle_since.elapsed() < Helpers::LINGER {
            if self.offers.load(Ordering::Acquire)
                && let Some(batch) = self.lock().batches.front()
            {
                return Some(Arc::clone(batch));
            }
            // Whatever else wants the core gets it.
            thread::yield_now();
        }
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(batch) = state.batches.front() {
                return Some(Arc::clone(batch));
            }
            state.sleeping += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
    }
}

/// A batch under way.
struct Batch {
    plan: Arc<Plan>,
    images: Box<[Image]>,
    /// Images of a piece; the last may have fewer.
    piece: usize,
    /// The first piece that nobody has claimed.
    next: AtomicUsize,
    /// For each piece, its end.
    done: Box<[OnceLock<Done>]>,
}

enum Done {
    /// Its caller has put the logits where they belong.
    InPlace,
    /// A helper has computed them.
    Beside(Vec<f32>),
    Panicked,
}

impl Batch {
    fn new(plan: &Arc<Plan>, images: &[Image], piece: usize) -> Self {
        let done = (0..images.len().div_ceil(piece)).map(|_| OnceLock::new()).collect();
        Self { plan: Arc::clone(plan), images: images.into(), piece, next: 0.into(), done }
    }

    fn claim(&self) -> Option<usize> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.done.len()).then_some(index)
    }

    fn piece(&self, index: usize) -> &[Image] {
        let first = index * self.piece;
        &self.images[first..self.images.len().min(first + self.piece)]
    }

    fn compute(&self, index: usize) -> Done {
        let compute = || {
            let images = self.piece(index);
            let mut logits = vec![0.0; images.len() * self.plan.classes()];
            self.plan.logits(images, &mut logits);
            logits
        };
        // What a panic leaves behind is dropped: the piece, and what it was computed with.
        catch_unwind(AssertUnwindSafe(compute)).map_or(Done::Panicked, Done::Beside)
    }

    fn done(&self, index: usize, done: Done) {
        assert!(self.done[index].set(done).is_ok(), "a piece is claimed once");
    }
}
