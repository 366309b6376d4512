//! A lease on one message, in the hands of the pipeline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::OwnedSemaphorePermit;

use crate::claims::{Claim, Claims};

/// How long a message may be worked on: the client renews its lease until then.
pub(crate) const MAX_LEASE: Duration = Duration::from_secs(60 * 60);

/// How long the server may take to confirm an acknowledgement, where it confirms them.
const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(30);

/// Pub/Sub's lease on one message; dropped unsettled, the message is delivered again.
#[derive(Debug)]
pub struct PubSubToken {
    handler: Option<Handler>,
    lane: Option<(Arc<Claims>, Claim)>,
    expires: Instant,
    live: Arc<AtomicBool>,
    /// The message's share of what may be received, given back with this.
    _room: Option<OwnedSemaphorePermit>,
}

impl PubSubToken {
    /// `live` is whether the stream that brought the message still takes acknowledgements.
    pub(crate) fn new(
        handler: Handler,
        lane: Option<(Arc<Claims>, Claim)>,
        live: Arc<AtomicBool>,
        now: Instant,
        room: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { handler: Some(handler), lane, expires: now + MAX_LEASE, live, _room: room }
    }

    /// The message's ordering key, where it has a lane.
    pub(crate) fn lane_key(&self) -> Option<Arc<str>> {
        self.lane.as_ref().map(|(_, claim)| Arc::clone(&claim.key))
    }

    /// Whether the lease has gone, so that the message comes again whatever is done.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now >= self.expires || !self.live.load(Ordering::Acquire)
    }

    /// Whether an earlier message of its lane was given back since this one was received.
    pub(crate) fn is_pulled_back(&self) -> bool {
        self.lane.as_ref().is_some_and(|(claims, claim)| !claims.is_current(claim))
    }

    /// Acknowledges; `false` when the lease had gone. Only a subscription with exactly-once
    /// delivery confirms acknowledgements; on others they are sent within 100 ms, unconfirmed.
    pub(crate) async fn acknowledge(mut self) -> bool {
        if let Some((claims, claim)) = self.lane.take() {
            claims.leave(&claim);
        }
        match self.handler.take() {
            Some(Handler::ExactlyOnce(handler)) => {
                let confirmed = handler.confirmed_ack();
                matches!(tokio::time::timeout(ACKNOWLEDGE_DEADLINE, confirmed).await, Ok(Ok(())))
            }
            Some(handler) => {
                handler.ack();
                true
            }
            None => false,
        }
    }
}

impl Drop for PubSubToken {
    fn drop(&mut self) {
        if let Some((claims, claim)) = self.lane.take() {
            claims.pull_back(&claim, Instant::now());
        }
        if let Some(handler) = self.handler.take() {
            handler.nack();
        }
    }
}
