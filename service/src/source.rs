//! Where a consumer's messages come from.

#[cfg(feature = "pubsub")]
use stream_inference::pipeline::BatchConfig;
use stream_inference::{pipeline::Pulse, transport::Transport};
#[cfg(feature = "pubsub")]
use transport_pubsub::PubSubTransport;

/// A transport under a whole program; one of one's own by [`Stream::run_over`](crate::Stream::run_over).
pub trait Source: Send {
    /// What messages come over.
    type Transport: Transport;

    /// Connects, and returns beside the transport what resolves at the end of the input, once all that was
    /// received has its end; [`std::future::pending`] where there is none. `pulse` is for a transport that
    /// tells what it waits for.
    ///
    /// # Errors
    /// With what a person has to know to make it good.
    fn connect(
        self,
        pulse: Pulse,
    ) -> impl Future<Output = anyhow::Result<(Self::Transport, impl Future<Output = ()> + Send)>> + Send;
}

/// Google Pub/Sub's subscription.
#[cfg(feature = "pubsub")]
#[derive(Debug)]
pub struct PubSubSource {
    /// Of which project, and what else.
    pub config: transport_pubsub::PubSubConfig,
    /// What is held at once.
    pub batch: BatchConfig,
}

#[cfg(feature = "pubsub")]
impl Source for PubSubSource {
    type Transport = PubSubTransport;

    async fn connect(
        self,
        pulse: Pulse,
    ) -> anyhow::Result<(PubSubTransport, impl Future<Output = ()> + Send)> {
        let transport = PubSubTransport::connect_within(&self.config, &self.batch).await?;
        Ok((transport.with_pulse(&pulse), std::future::pending()))
    }
}
