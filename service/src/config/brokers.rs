//! Values of the brokers' sections that are well-formed one by one and yet can't work.

use super::{ConfigError, Origins};

const READ_AGAIN: &str = "what the consumer writes there it would read again, for ever";

/// Takes an empty name as none, and refuses what Kafka or the delivery promise can't bear.
///
/// # Errors
/// With the key, and where its value came from.
pub fn check_kafka(
    kafka: &mut transport_kafka::KafkaConfig,
    origins: &Origins,
) -> Result<(), ConfigError> {
    const NAME: &str = "1 to 249 letters, digits, dots, _ and -";
    for text in [&mut kafka.results_topic, &mut kafka.group_instance_id] {
        drop(text.take_if(|text| text.is_empty()));
    }
    let wrong = |key, expected, found: &str| Err(wrong(origins, key, expected, found));
    if kafka.bootstrap_servers.trim().is_empty() {
        let expected = "HOST:PORT, more of them separated by commas";
        return wrong("kafka.bootstrap_servers", expected, &kafka.bootstrap_servers);
    }
    let topics = [
        ("kafka.topic", Some(&kafka.topic)),
        ("kafka.results_topic", kafka.results_topic.as_ref()),
        ("kafka.dead_letter_topic", Some(&kafka.dead_letter_topic)),
    ];
    let routes = kafka.routes.iter().map(|route| ("kafka.routes", Some(route)));
    let topics: Vec<_> = topics.into_iter().chain(routes).collect();
    for &(key, name) in &topics {
        if let Some(name) = name.filter(|name| !is_kafka_name(name)) {
            return wrong(key, NAME, name);
        }
    }
    no_circle(&topics)?;
    let reset = &kafka.auto_offset_reset;
    if !["earliest", "latest"].contains(&reset.as_str()) {
        return wrong("kafka.auto_offset_reset", "earliest or latest", reset);
    }
    Ok(kafka.check()?)
}

/// Takes an empty name as none, and refuses what Pub/Sub can't bear.
///
/// # Errors
/// With the key, and where its value came from.
#[cfg(feature = "pubsub")]
pub fn check_pubsub(
    pubsub: &mut transport_pubsub::PubSubConfig,
    origins: &Origins,
) -> Result<(), ConfigError> {
    const NAME: &str = "up to 255 letters, digits and -._~+%, a letter first";
    const SHARED: &str =
        "each message would be seen by the consumer or by the page, and not by the other";
    for text in [&mut pubsub.results_topic, &mut pubsub.results_subscription_id] {
        drop(text.take_if(|text| text.is_empty()));
    }
    drop(pubsub.key_file.take_if(|path| path.as_os_str().is_empty()));
    let names = [
        ("pubsub.topic", Some(&pubsub.topic)),
        ("pubsub.results_topic", pubsub.results_topic.as_ref()),
        ("pubsub.dead_letter_topic", Some(&pubsub.dead_letter_topic)),
        ("pubsub.subscription_id", Some(&pubsub.subscription_id)),
        ("pubsub.results_subscription_id", pubsub.results_subscription_id.as_ref()),
    ];
    let routes = pubsub.routes.iter().map(|route| ("pubsub.routes", Some(route)));
    for (key, name) in names.into_iter().chain(routes) {
        if let Some(name) = name.filter(|name| !is_pubsub_name(name)) {
            return Err(wrong(origins, key, NAME, name));
        }
    }
    let [.., (key, requests), (other, results)] = names;
    if let Some(found) = results.filter(|results| Some(*results) == requests) {
        return Err(ConfigError::Same { key, other, found: found.clone(), reason: SHARED });
    }
    no_circle(&names[..3])?;
    Ok(pubsub.check()?)
}

/// Takes the emulator that `PUBSUB_EMULATOR_HOST` names.
///
/// # Errors
/// When that is no address.
#[cfg(feature = "pubsub")]
pub fn emulator_from(
    variables: &[(String, String)],
    pubsub: &mut transport_pubsub::PubSubConfig,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    const HOST: &str = "PUBSUB_EMULATOR_HOST";
    if let Some((_, host)) = variables.iter().find(|(name, _)| name == HOST) {
        pubsub.emulator = Some(transport_pubsub::Emulator::new(host)?);
        origins.record("pubsub.emulator", HOST);
    }
    Ok(())
}

/// Refuses that the first topic, which is read, is one of the others, which are written.
fn no_circle(topics: &[(&'static str, Option<&String>)]) -> Result<(), ConfigError> {
    let (key, input) = topics[0];
    for &(other, name) in &topics[1..] {
        if let Some(found) = name.filter(|name| Some(*name) == input) {
            let (found, reason) = (found.clone(), READ_AGAIN);
            return Err(ConfigError::Same { key, other, found, reason });
        }
    }
    Ok(())
}

fn wrong(origins: &Origins, key: &'static str, expected: &'static str, found: &str) -> ConfigError {
    let origin = origins.of(key).to_owned();
    ConfigError::Name { origin, key, expected, found: found.to_owned() }
}

/// As Kafka's brokers see it; a name that begins with ^ would be a pattern to librdkafka.
fn is_kafka_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(allowed)
}

/// As Pub/Sub's documents say of topics and subscriptions.
#[cfg(feature = "pubsub")]
fn is_pubsub_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    name.len() <= 255
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(allowed)
}
