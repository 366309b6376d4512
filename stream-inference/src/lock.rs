//! Locks that stay in use after a panic. What they guard in this crate is whole at any time.

use std::sync::PoisonError;

/// What a lock or a [`Condvar`](std::sync::Condvar) hands out, whether somebody panicked with it or not. Under
/// the locks of this crate foreign code does not run, and every change is complete before anything in it can
/// panic: what they guard is whole at any time.
pub(crate) trait Sound<G> {
    /// The guard.
    fn sound(self) -> G;
}

impl<G> Sound<G> for Result<G, PoisonError<G>> {
    fn sound(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}
