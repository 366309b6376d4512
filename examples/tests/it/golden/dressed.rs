use std::{sync::Arc, time::Duration};

use fmnist_core::transport::{
    Capabilities, Delivery, Lane, Limits, Outcome, Settlement, Transport, TransportError,
    memory::{MemoryToken, MemoryTransport},
};

/// Whose messages they look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Broker {
    Kafka,
    PubSub,
}

impl Broker {
    /// The id of a message by its place in the order of sending, from 1.
    pub(super) fn id(self, number: usize) -> String {
        match self {
            Self::Kafka => format!("INFERENCE/3/{number}"),
            Self::PubSub => format!("84{number:014}"),
        }
    }

    /// Gives a delivery the coordinates that this broker's transport would.
    fn dress(self, mut delivery: Delivery<MemoryToken>) -> Delivery<MemoryToken> {
        let index: usize = delivery.id.rsplit('/').next().unwrap().parse().unwrap();
        let source = &mut delivery.source;
        delivery.id = self.id(index + 1);
        match self {
            Self::Kafka => {
                source.transport = "kafka".into();
                (source.partition, source.offset) = (Some(3), Some(index as i64 + 1));
                source.message_id = None;
                let topic = Arc::clone(&source.topic);
                delivery.lane = Some(Lane::Partition { topic, partition: 3 });
            }
            Self::PubSub => {
                source.transport = "pubsub".into();
                source.message_id = Some(delivery.id.clone());
                // As without a dead-letter policy of the subscription.
                delivery.attempt = None;
            }
        }
        delivery
    }
}

/// The memory broker's messages as another broker's.
pub(super) struct Dressed {
    pub(super) inner: MemoryTransport,
    pub(super) broker: Broker,
}

impl Transport for Dressed {
    type Token = MemoryToken;

    const NAME: &'static str = "dressed";

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        let deliveries = self.inner.recv(limits).await?;
        Ok(deliveries.into_iter().map(|delivery| self.broker.dress(delivery)).collect())
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        self.inner.settle(batch)
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        self.inner.drain(grace).await
    }
}
