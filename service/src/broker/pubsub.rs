//! Google Pub/Sub.

use bytes::Bytes;
use stream_inference::transport::{Transport, TransportError};
use transport_pubsub::{
    Emulator, PubSubConfig, PubSubError, PubSubPublisher, PubSubResults, PubSubTransport,
};

use super::{Broker, Later, Producer, Results};
use crate::{ConfigError, Letters, Redrive, Role, SurveyArguments, config::Origins};

impl Broker for PubSubConfig {
    fn name(&self) -> &'static str {
        PubSubTransport::NAME
    }

    fn title(&self) -> &'static str {
        "Google Pub/Sub"
    }

    fn is_configured(&self) -> bool {
        !self.project_id.is_empty() || self.emulator.is_some()
    }

    /// The old configuration names one that not everybody has.
    fn is_optional(&self) -> bool {
        true
    }

    fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        self.check().map_err(|error| match error {
            PubSubError::Rule { key, rule } => ConfigError::rule(origins, key, rule),
            error => ConfigError::Broker(error.into()),
        })
    }

    fn results_topic(&self) -> Option<&str> {
        self.results_topic.as_deref()
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }

    fn producer(&self) -> Later<'_, anyhow::Result<Producer>> {
        Box::pin(async {
            let publisher = PubSubPublisher::connect(self).await?;
            let probed = publisher.clone();
            Ok(Producer::new(PubSubTransport::NAME, publisher).with_probe(move || {
                let publisher = probed.clone();
                async move { Ok(publisher.probe().await?) }
            }))
        })
    }

    fn results(&self) -> Option<Later<'_, anyhow::Result<Box<dyn Results>>>> {
        self.results_subscription_id.as_ref()?;
        Some(Box::pin(async {
            let reader = PubSubResults::connect(self).await?;
            Ok(Box::new(reader.expect("there is a subscription")) as Box<dyn Results>)
        }))
    }

    fn needs(&self, role: Role) -> String {
        let what = match role {
            Role::Consumer => format!("subscription {}, its topics", self.subscription_id),
            Role::Page => format!("topic {}", self.topic),
        };
        format!("Pub/Sub in project {}: {what}", self.project_id)
    }

    fn missing(&self, role: Role) -> Later<'_, anyhow::Result<Vec<anyhow::Error>>> {
        Box::pin(async move {
            let missing = match role {
                Role::Consumer => transport_pubsub::missing_for_consumer(self).await?,
                Role::Page => transport_pubsub::missing_for_reader(self).await?,
            };
            Ok(missing.into_iter().map(Into::into).collect())
        })
    }

    fn create<'a>(&'a self, arguments: &'a SurveyArguments) -> Later<'a, anyhow::Result<()>> {
        Box::pin(async move {
            match arguments.ack_deadline {
                None => transport_pubsub::create_missing(self).await?,
                Some(seconds) => transport_pubsub::create_missing_within(self, seconds).await?,
            }
            Ok(())
        })
    }

    fn letters(&self) -> anyhow::Result<&dyn Letters> {
        Ok(self)
    }
}

impl Results for PubSubResults {
    fn next(&mut self) -> Later<'_, Result<Bytes, TransportError>> {
        Box::pin(self.next())
    }
}

impl Letters for PubSubConfig {
    /// A letter is acknowledged after its message is confirmed on the source topic.
    fn send_again<'a>(&'a self, redrive: &'a mut Redrive<'_>) -> Later<'a, anyhow::Result<()>> {
        Box::pin(async move {
            anyhow::ensure!(
                redrive.arguments.from.is_none() && redrive.arguments.to.is_none(),
                "--from and --to are for Kafka: Pub/Sub keeps no history to choose from"
            );
            let publisher = PubSubPublisher::connect(self).await?;
            // The other way round: dead letters are read, and what is written is the source topic alone, of
            // which a subscription is refused.
            let letters = PubSubConfig {
                subscription_id: redrive.arguments.subscription.clone().unwrap_or_default(),
                topic: self.dead_letter_topic.clone(),
                results_topic: None,
                results_subscription_id: None,
                routes: Vec::new(),
                dead_letter_topic: self.topic.clone(),
                ..self.clone()
            };
            redrive.receive(PubSubTransport::connect(&letters).await?, &publisher).await
        })
    }
}

/// Takes the emulator that `PUBSUB_EMULATOR_HOST` names.
///
/// # Errors
/// When that is no address.
pub fn emulator_from(
    variables: &[(String, String)],
    pubsub: &mut PubSubConfig,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    const HOST: &str = "PUBSUB_EMULATOR_HOST";
    if let Some((_, host)) = variables.iter().find(|(name, _)| name == HOST) {
        let emulator = Emulator::new(host).map_err(|error| ConfigError::Broker(error.into()))?;
        pubsub.emulator = Some(emulator);
        origins.record("pubsub.emulator", HOST);
    }
    Ok(())
}
