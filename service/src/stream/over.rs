//! What messages come over, among what any program knows.

use std::{future::Pending, sync::Arc};

use anyhow::Context;
use clap::ValueEnum;
use stream_inference::{codec::Codec, pipeline::Pulse, transport::Transport};

use super::stdin::Lines;
use crate::{Broker, Config, Source};

/// What messages come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Lines of stdin; results are lines of stdout, dead letters lines of stderr
    Stdin,
    /// From topic to topic
    Kafka,
    /// From a subscription to topics
    #[cfg(feature = "pubsub")]
    Pubsub,
    /// A transport of one's own, by its name
    #[value(skip)]
    Own(&'static str),
}

impl Over {
    /// The broker, where it is one that any program knows.
    pub(super) fn of<S: Default>(self, config: &Config<S>) -> Option<Arc<dyn Broker>> {
        match self {
            Self::Stdin | Self::Own(_) => None,
            Self::Kafka => Some(Arc::new(config.kafka.clone())),
            #[cfg(feature = "pubsub")]
            Self::Pubsub => Some(Arc::new(config.pubsub.clone())),
        }
    }

    /// Adds the topics that the codec names to the routes, and checks that they can be some.
    pub(super) fn declare<S: Default>(
        self,
        config: &mut Config<S>,
        codec: &impl Codec,
    ) -> anyhow::Result<()> {
        config.declare(codec);
        // Else the pipeline asks the transport itself.
        let Some(broker) = self.of(config) else { return Ok(()) };
        broker.check(&config.origins).context("the topics that the codec names")?;
        let name = self.name();
        anyhow::ensure!(
            broker.results_topic().is_some() || !broker.routes().is_empty(),
            "{name}.results_topic is null, and results have no other place"
        );
        Ok(())
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Own(name) => name,
            Self::Stdin => Lines::NAME,
            Self::Kafka => transport_kafka::KafkaTransport::NAME,
            #[cfg(feature = "pubsub")]
            Self::Pubsub => transport_pubsub::PubSubTransport::NAME,
        }
    }
}

/// None: what messages come over is chosen among those that any program knows.
pub(super) enum Known {}

impl Source for Known {
    type Transport = Lines;

    #[expect(refining_impl_trait, reason = "nothing is ever connected")]
    async fn connect(self, _pulse: Pulse) -> anyhow::Result<(Lines, Pending<()>)> {
        match self {}
    }
}
