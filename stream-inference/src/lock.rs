//! Locks that stay in use after a panic.

use std::sync::PoisonError;

/// What a lock or a [`Condvar`](std::sync::Condvar) hands out, whether somebody panicked with it or not.
/// What the locks of this crate guard is whole at any time: every change is complete before anything in it can
/// panic. `Exclusive` alone hands its function out as the call that panicked left it, and says so.
pub(crate) trait Sound<G> {
    /// The guard.
    fn sound(self) -> G;
}

impl<G> Sound<G> for Result<G, PoisonError<G>> {
    fn sound(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}
