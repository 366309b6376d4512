//! The brokers check their sections; where a value came from is known here.

use transport_kafka::{KafkaConfig, KafkaSetupError};
#[cfg(feature = "pubsub")]
use transport_pubsub::{Emulator, PubSubConfig, PubSubError};

use super::{ConfigError, Origins};

/// Refuses what Kafka or the delivery promise can't bear.
///
/// # Errors
/// With the key, and where its value came from.
pub fn check_kafka(kafka: &KafkaConfig, origins: &Origins) -> Result<(), ConfigError> {
    kafka.check().map_err(|error| match error {
        KafkaSetupError::Rule { key, rule } => of_origin(origins, key, rule),
        error => error.into(),
    })
}

/// Refuses what Pub/Sub can't bear.
///
/// # Errors
/// With the key, and where its value came from.
#[cfg(feature = "pubsub")]
pub fn check_pubsub(pubsub: &PubSubConfig, origins: &Origins) -> Result<(), ConfigError> {
    pubsub.check().map_err(|error| match error {
        PubSubError::Rule { key, rule } => of_origin(origins, key, rule),
        error => error.into(),
    })
}

fn of_origin(origins: &Origins, key: &str, rule: String) -> ConfigError {
    ConfigError::Rule { origin: origins.of(key).to_owned(), key: key.to_owned(), rule }
}

/// Takes the emulator that `PUBSUB_EMULATOR_HOST` names.
///
/// # Errors
/// When that is no address.
#[cfg(feature = "pubsub")]
pub fn emulator_from(
    variables: &[(String, String)],
    pubsub: &mut PubSubConfig,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    const HOST: &str = "PUBSUB_EMULATOR_HOST";
    if let Some((_, host)) = variables.iter().find(|(name, _)| name == HOST) {
        pubsub.emulator = Some(Emulator::new(host)?);
        origins.record("pubsub.emulator", HOST);
    }
    Ok(())
}
