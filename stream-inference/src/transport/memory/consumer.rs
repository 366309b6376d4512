use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{MemoryBroker, broker::Fill};
use crate::transport::{
    Capabilities, Delivery, Guarantee, Limits, Outcome, Settlement, Transport, TransportError,
};

/// A consumer of a [`MemoryBroker`].
#[derive(Debug)]
pub struct MemoryTransport {
    broker: MemoryBroker,
}

/// A lease on one message; dropped unsettled, the message is delivered again.
#[derive(Debug)]
pub struct MemoryToken {
    broker: MemoryBroker,
    lease: Option<(usize, u64)>,
}

impl MemoryToken {
    pub(super) fn new(broker: MemoryBroker, index: usize, lease: u64) -> Self {
        Self { broker, lease: Some((index, lease)) }
    }

    /// The message's index and the lease's number, once.
    pub(super) fn take(&mut self) -> Option<(usize, u64)> {
        self.lease.take()
    }
}

impl Drop for MemoryToken {
    fn drop(&mut self) {
        if let Some((index, lease)) = self.lease.take() {
            self.broker.take_back(index, lease);
        }
    }
}

impl MemoryTransport {
    pub(super) fn new(broker: MemoryBroker) -> Self {
        Self { broker }
    }
}

impl Transport for MemoryTransport {
    type Token = MemoryToken;

    const NAME: &'static str = "memory";

    fn capabilities(&self) -> Capabilities {
        Capabilities { guarantee: Guarantee::AtLeastOnce, lanes: true, attempts: true }
    }

    /// Any: a result's topic stands in [`MemoryBroker::results`].
    fn has_route(&self, _topic: &str) -> bool {
        true
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        if self.broker.take_outage() {
            let context = "the memory broker was told to be away".to_owned();
            return Err(TransportError::Unavailable { context, source: None });
        }
        // Nothing is leased before it is returned, so a dropped future loses nothing.
        let mut deadline = None;
        loop {
            let mut arrived = std::pin::pin!(self.broker.arrived().notified());
            arrived.as_mut().enable();
            let due = match (self.broker.fills(limits), deadline) {
                (Fill::Empty, _) => {
                    arrived.await;
                    false
                }
                (Fill::Some, None) => {
                    deadline = Some(Instant::now() + limits.max_wait);
                    limits.max_wait.is_zero()
                }
                (Fill::Some, Some(deadline)) => timeout_at(deadline, arrived).await.is_err(),
                (Fill::Full, _) => true,
            };
            // Another consumer may have been faster.
            let deliveries = if due { self.broker.lease(limits) } else { Vec::new() };
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        crate::fail_point!(BeforeCommit);
        let settlement = self.broker.settle(batch);
        crate::fail_point!(AfterCommit);
        let mut held = self.broker.held();
        async move {
            // The broker outlives its receivers' interest: an error means that it is gone.
            let _ = held.wait_for(|held| !held).await;
            settlement.ok_or_else(|| {
                let context = "the memory broker was told to abort".to_owned();
                TransportError::Aborted { context, source: None }
            })
        }
    }

    async fn drain(self, _grace: Duration) -> Result<(), TransportError> {
        Ok(())
    }
}
