//! The calls of a connection: how many are open, and whether one of them does not get on.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

/// The open calls of a connection.
#[derive(Default)]
pub(crate) struct Calls {
    open: watch::Sender<usize>,
    stalled: Notify,
}

/// A call counts until this is dropped.
pub(crate) struct OpenCall(Arc<Calls>);

impl Calls {
    pub(crate) fn begin(self: &Arc<Self>) -> OpenCall {
        self.open.send_modify(|open| *open += 1);
        OpenCall(Arc::clone(self))
    }

    /// Ends the connection.
    pub(crate) fn cut_off(&self) {
        self.stalled.notify_one();
    }

    /// Returns once it is to end because of a client that does not read.
    pub(crate) async fn stalled(&self) {
        self.stalled.notified().await;
    }

    /// Returns once no call has been open for so long.
    pub(crate) async fn idle(&self, long: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is here, so the channel is open.
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(long, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
