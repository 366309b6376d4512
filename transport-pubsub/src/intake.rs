//! What is received and not handed out yet: a stream of messages, and the bound on what they take.

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
use stream_inference::{Part, Supervisor, pipeline::BatchConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{token::MAX_LEASE, wire};

/// What may be received and not settled: the bound on this process's memory.
///
/// The server is asked to keep it. It does not say what it counts as bytes, so those are counted here
/// as well, with key and attributes: a message goes no further than this before there is room for it.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_messages: usize,
    max_bytes: usize,
    room: Arc<Semaphore>,
}

impl Bounds {
    /// Those of a pipeline: what it may not have in flight, it need not be sent.
    pub(crate) fn new(batch: &BatchConfig) -> Self {
        // A message has its share as a u32.
        let max_bytes = batch.max_bytes.clamp(1, u32::MAX as usize);
        let max_messages = batch.max_messages.max(1);
        Self { max_messages, max_bytes, room: Arc::new(Semaphore::new(max_bytes)) }
    }

    /// Waits for room for a message, which a larger one than all bounds takes whole.
    async fn admit(&self, message: &Message) -> Option<OwnedSemaphorePermit> {
        let bytes = wire::size_bytes(message).min(self.max_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()
    }
}

/// A message, the way to acknowledge it, and its share of the bounds.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) handler: Handler,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// An open stream of messages, owned by a task of its own.
///
/// The task is needed because the client opens its stream inside `next`, and answers only with the
/// first message: dropping `next` would lose the stream and lease out its messages in vain.
#[derive(Debug)]
pub(crate) struct Intake {
    messages: mpsc::Receiver<Result<Received, Error>>,
    shutdown: ShutdownToken,
    /// Whether the stream still takes acknowledgements; shared by all its messages.
    pub(crate) live: Arc<AtomicBool>,
}

impl Intake {
    /// Opens a stream whose messages are leased for `lease` at a time, again and again.
    pub(crate) fn open(
        subscriber: &Subscriber,
        subscription: &str,
        lease: Duration,
        bounds: &Bounds,
        supervisor: &Supervisor,
    ) -> Self {
        let most = |bound: usize| i64::try_from(bound).unwrap_or(i64::MAX);
        let stream = subscriber
            .subscribe(subscription)
            .set_max_outstanding_messages(most(bounds.max_messages))
            .set_max_outstanding_bytes(most(bounds.max_bytes))
            .set_max_lease(MAX_LEASE)
            .set_max_lease_extension(lease)
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately)
            .build();
        let shutdown = stream.shutdown_token();
        let (sender, messages) = mpsc::channel(bounds.max_messages);
        let live = Arc::new(AtomicBool::new(true));
        let part = supervisor.part("task that receives from Pub/Sub");
        tokio::spawn(forward(stream, bounds.clone(), sender, Arc::clone(&live), part));
        Self { messages, shutdown, live }
    }

    /// The next message; `None` when the stream has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Received, Error>> {
        self.messages.recv().await
    }

    /// Sends the acknowledgements given so far and gives back everything else; returns whether the
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
    bounds: Bounds,
    sender: mpsc::Sender<Result<Received, Error>>,
    live: Arc<AtomicBool>,
    part: Part,
) {
    let mut next = async || match stream.next().await? {
        Ok((message, handler)) => {
            let room = bounds.admit(&message).await;
            Some(Ok(Received { message, handler, room }))
        }
        Err(error) => Some(Err(error)),
    };
    loop {
        let next = tokio::select! {
            () = sender.closed() => None,
            next = next() => next,
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
    part.done();
}
