use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use google_cloud_pubsub::{
    Error,
    client::Subscriber,
    model::Message,
    subscriber::{MessageStream, ShutdownBehavior, ShutdownToken, handler::Handler},
};
use tokio::sync::mpsc;

use crate::token::MAX_LEASE;

/// What the server may send ahead of acknowledgements: the bound on this process's memory.
pub(crate) const MAX_OUTSTANDING_MESSAGES: usize = 2048;
const MAX_OUTSTANDING_BYTES: i64 = 20 << 20;

/// An open stream of messages, owned by a task of its own.
///
/// The task is needed because the client opens its stream inside `next`, and answers only with the
/// first message: dropping `next` would lose the stream and lease out its messages in vain.
#[derive(Debug)]
pub(crate) struct Intake {
    messages: mpsc::Receiver<Result<(Message, Handler), Error>>,
    shutdown: ShutdownToken,
    live: Arc<AtomicBool>,
}

impl Intake {
    /// Opens a stream whose messages are leased for `lease` at a time, again and again.
    pub(crate) fn open(subscriber: &Subscriber, subscription: &str, lease: Duration) -> Self {
        let stream = subscriber
            .subscribe(subscription)
            .set_max_outstanding_messages(MAX_OUTSTANDING_MESSAGES as i64)
            .set_max_outstanding_bytes(MAX_OUTSTANDING_BYTES)
            .set_max_lease(MAX_LEASE)
            .set_max_lease_extension(lease)
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately)
            .build();
        let shutdown = stream.shutdown_token();
        let (sender, messages) = mpsc::channel(MAX_OUTSTANDING_MESSAGES);
        let live = Arc::new(AtomicBool::new(true));
        tokio::spawn(forward(stream, sender, Arc::clone(&live)));
        Self { messages, shutdown, live }
    }

    /// The next message; `None` when the stream has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<(Message, Handler), Error>> {
        self.messages.recv().await
    }

    /// Whether the stream still takes acknowledgements; shared by all its messages.
    pub(crate) fn live(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.live)
    }

    /// Sends the acknowledgements given so far and gives back everything else; answers whether the
    /// server took them within `grace`.
    pub(crate) async fn close(mut self, grace: Duration) -> bool {
        // In the order of arrival. Left to the client, they would go back in that of a hash map.
        self.messages.close();
        while let Ok(received) = self.messages.try_recv() {
            drop(received);
        }
        tokio::time::timeout(grace, self.shutdown.shutdown()).await.is_ok()
    }
}

async fn forward(
    mut stream: MessageStream,
    sender: mpsc::Sender<Result<(Message, Handler), Error>>,
    live: Arc<AtomicBool>,
) {
    loop {
        let next = tokio::select! {
            () = sender.closed() => None,
            next = stream.next() => next,
        };
        let Some(next) = next else { break };
        let failed = next.is_err();
        if failed {
            live.store(false, Ordering::Release);
        }
        if sender.send(next).await.is_err() || failed {
            break;
        }
    }
    live.store(false, Ordering::Release);
}
