//! A message that is not confirmed is held, and the outcomes of later ones of its partition wait.

use std::sync::Arc;

use crate::{
    claims::{Claim, Standing},
    shared::Shared,
};

/// While it lives, outcomes of the partition's later messages wait.
pub(super) struct Hold {
    shared: Arc<Shared>,
    partition: i32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let holds = &mut state.pending.holds;
        if let Some(count) = holds.get_mut(&self.partition) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.partition);
            }
        }
        let is_over = holds.is_empty();
        drop(state);
        if is_over {
            self.shared.resumed();
        }
    }
}

impl Shared {
    /// Holds a partition's messages: outcomes of later ones wait.
    pub(super) fn hold(self: &Arc<Self>, partition: i32) -> Hold {
        *self.state().pending.holds.entry(partition).or_default() += 1;
        Hold { shared: Arc::clone(self), partition }
    }

    /// Holds further messages of a partition, if some are held.
    pub(super) fn hold_again(self: &Arc<Self>, partition: i32) -> Option<Hold> {
        let is_held = self.state().pending.holds.contains_key(&partition);
        is_held.then(|| self.hold(partition))
    }

    /// Whether any partition's messages are held.
    pub(super) fn is_holding(&self) -> bool {
        !self.state().pending.holds.is_empty()
    }

    /// Waits for `future` as long as the claim counts and the transport is there.
    pub(super) async fn while_valid<O>(
        &self,
        claim: Claim,
        future: impl Future<Output = O>,
    ) -> Option<O> {
        let mut future = std::pin::pin!(future);
        loop {
            let mut ended = std::pin::pin!(self.claims_ended.notified());
            ended.as_mut().enable();
            {
                let state = self.state();
                let standing = state.intake.claims.standing(claim);
                if state.group.is_closing || standing != Standing::Valid {
                    return None;
                }
            }
            tokio::select! {
                output = &mut future => return Some(output),
                () = ended => {}
            }
        }
    }
}
