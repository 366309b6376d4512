//! The open transaction, as a rebalance sees it: partitions are not given away under its feet, for a while.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use crate::shared::{Shared, State};

impl Shared {
    /// Blocks until this consumer is a member of its group with an assignment, for at most
    /// `timeout`, and marks a transaction as open under the same lock.
    pub(super) fn begin(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.group.member.is_none() && !state.group.is_closing;
        let waited = self.moved.wait_timeout_while(self.state(), timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.group.transaction += 1;
        state.group.in_transaction = true;
        state
    }

    /// Marks the open transaction as committed or aborted.
    pub(super) fn end(&self) {
        self.state().group.in_transaction = false;
        self.moved.notify_all();
    }
}
