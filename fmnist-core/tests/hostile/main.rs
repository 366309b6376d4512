//! Input that means harm: it is refused without a panic, and for the memory that its size deserves.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod corpus;
// By its path: fuzz/ is a workspace of its own, so that this one is compiled without the fuzzer.
#[path = "../../../fuzz/src/entry_points.rs"]
#[expect(unreachable_pub, reason = "the fuzzer has it, too")]
mod entry_points;
mod files;
mod messages;
mod mutation;
mod pictures;
mod ranges;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Held by one test at a time, so that nobody else's memory is counted.
struct Alone(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

impl Alone {
    fn wait() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        Self(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The result of `work`, and the most bytes that it held at a time.
    fn measured<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        let result = work();
        (result, ALLOCATOR.peak_usage().saturating_sub(before))
    }
}

const MIB: usize = 1 << 20;
