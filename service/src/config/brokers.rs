//! Values that are well-formed one by one and yet can't work.

use fmnist_core::Engine;

use super::{Config, ConfigError};

const KAFKA_NAME: &str = "1 to 249 letters, digits, dots, _ and -";
const PUBSUB_NAME: &str = "up to 255 letters, digits and -._~+%, a letter first";
const SHARED: &str =
    "each message would be seen by the consumer or by the page, and not by the other";
const CLASSIFIED_AGAIN: &str = "what the consumer writes there it would read again, for ever";

/// Refuses what excludes one another; takes an empty name as none.
pub(super) fn check(config: &mut Config) -> Result<(), ConfigError> {
    let Config { kafka, pubsub, model, database, data, .. } = &mut *config;
    let optional = [
        &mut kafka.results_topic,
        &mut kafka.group_instance_id,
        &mut pubsub.results_topic,
        &mut pubsub.results_subscription_id,
        &mut model.model_version,
        &mut database.url,
    ];
    for text in optional {
        drop(text.take_if(|text| text.is_empty()));
    }
    for path in [&mut pubsub.key_file, &mut data.path] {
        drop(path.take_if(|path| path.as_os_str().is_empty()));
    }

    let config = &*config;
    names(config)?;
    let reset = &config.kafka.auto_offset_reset;
    if !["earliest", "latest"].contains(&reset.as_str()) {
        return Err(wrong(config, "kafka.auto_offset_reset", "earliest or latest", reset));
    }
    config.model.engine.parse::<Engine>().map_err(|source| ConfigError::Engine {
        origin: config.origins.of("model.engine").to_owned(),
        source,
    })?;
    config.kafka.check()?;
    Ok(())
}

fn names(config: &Config) -> Result<(), ConfigError> {
    let (kafka, pubsub) = (&config.kafka, &config.pubsub);
    if kafka.bootstrap_servers.trim().is_empty() {
        let expected = "HOST:PORT, more of them separated by commas";
        return Err(wrong(config, "kafka.bootstrap_servers", expected, &kafka.bootstrap_servers));
    }
    let of_kafka = [
        ("kafka.topic", Some(&kafka.topic)),
        ("kafka.results_topic", kafka.results_topic.as_ref()),
        ("kafka.dead_letter_topic", Some(&kafka.dead_letter_topic)),
    ];
    let of_pubsub = [
        ("pubsub.topic", Some(&pubsub.topic)),
        ("pubsub.results_topic", pubsub.results_topic.as_ref()),
        ("pubsub.dead_letter_topic", Some(&pubsub.dead_letter_topic)),
        ("pubsub.subscription_id", Some(&pubsub.subscription_id)),
        ("pubsub.results_subscription_id", pubsub.results_subscription_id.as_ref()),
    ];
    for (key, name) in of_kafka {
        if let Some(name) = name.filter(|name| !is_kafka_name(name)) {
            return Err(wrong(config, key, KAFKA_NAME, name));
        }
    }
    for (key, name) in of_pubsub {
        if let Some(name) = name.filter(|name| !is_pubsub_name(name)) {
            return Err(wrong(config, key, PUBSUB_NAME, name));
        }
    }
    let (key, requests) = of_pubsub[3];
    let (other, results) = of_pubsub[4];
    if let Some(found) = results.filter(|results| Some(*results) == requests) {
        return Err(ConfigError::Same { key, other, found: found.clone(), reason: SHARED });
    }
    for topics in [&of_kafka[..], &of_pubsub[..3]] {
        let (key, input) = topics[0];
        for &(other, name) in &topics[1..] {
            if let Some(found) = name.filter(|name| Some(*name) == input) {
                let (found, reason) = (found.clone(), CLASSIFIED_AGAIN);
                return Err(ConfigError::Same { key, other, found, reason });
            }
        }
    }
    Ok(())
}

fn wrong(config: &Config, key: &'static str, expected: &'static str, found: &str) -> ConfigError {
    let origin = config.origins.of(key).to_owned();
    ConfigError::Name { origin, key, expected, found: found.to_owned() }
}

/// As Kafka's brokers see it; a name that begins with ^ would be a pattern to librdkafka.
fn is_kafka_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(allowed)
}

/// As Pub/Sub's documents say of topics and subscriptions.
fn is_pubsub_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    name.len() <= 255
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(allowed)
}
