//! What has to exist, found or made.

mod commands;
pub(crate) mod server;

use crate::{PubSubConfig, PubSubError, connect::Connection};
use commands::ACKNOWLEDGE_DEADLINE_SECONDS;
use server::{Server, dead_letter_subscription};

/// The emulator goes on giving messages to consumers that are gone, and each stays there for a
/// deadline: the shortest keeps that bearable.
const EMULATOR_DEADLINE_SECONDS: i32 = 10;

/// Creates every topic and subscription of `config` that is missing: for demonstrations, tests and
/// the emulator, which forgets everything when it stops.
///
/// The input's subscription is created with message ordering. The dead letters get the
/// subscription `TOPIC-subscription`. A message has to be acknowledged within 60 s, on the emulator
/// 10.
///
/// # Errors
/// When the server can't be reached or refuses.
pub async fn create_missing(config: &PubSubConfig) -> Result<(), PubSubError> {
    let seconds = match config.emulator {
        Some(_) => EMULATOR_DEADLINE_SECONDS,
        None => ACKNOWLEDGE_DEADLINE_SECONDS,
    };
    create_missing_within(config, seconds).await
}

/// As [`create_missing`], with the seconds within which a message has to be acknowledged, 10–600,
/// before it is delivered again.
///
/// # Errors
/// When the server can't be reached or refuses.
pub async fn create_missing_within(
    config: &PubSubConfig,
    acknowledge_seconds: i32,
) -> Result<(), PubSubError> {
    let server = Server::connect(&Connection::new(config)?).await?;
    let dead_letters = dead_letter_subscription(config);
    let input = (Some(&config.topic), Some(&config.subscription_id));
    let refused = (Some(&config.dead_letter_topic), Some(&dead_letters));
    let results = (config.results_topic.as_ref(), config.results_subscription_id.as_ref());
    let routes = config.routes.iter().map(|route| (Some(route), None));
    for (topic, subscription) in [input, refused, results].into_iter().chain(routes) {
        let Some(topic) = topic else { continue };
        server.create_topic(topic).await?;
        if let Some(subscription) = subscription {
            server.create_subscription(subscription, topic, acknowledge_seconds).await?;
        }
    }
    Ok(())
}

/// What a consumer needs and does not find, each as [`PubSubError::Missing`] with the command that
/// makes it, or as [`PubSubError::Unusable`]: topics that it may publish on, its subscription, and one
/// of the dead letters.
///
/// # Errors
/// When the server can't be reached or refuses; it is waited for up to 10 s a question.
pub async fn missing_for_consumer(config: &PubSubConfig) -> Result<Vec<PubSubError>, PubSubError> {
    let server = Server::connect(&Connection::new(config)?).await?;
    let mut missing = Missing::default();
    missing.note(server.check_topic(&config.topic).await)?;
    let found = server.subscription(&config.subscription_id, &config.topic).await;
    missing.note(found.and_then(|found| server.check_source(found.as_ref())))?;
    for topic in config.result_topics() {
        if missing.note(server.check_topic(topic).await)? {
            missing.note(server.check_writable(topic).await)?;
        }
    }
    let dead_letters = &config.dead_letter_topic;
    if missing.note(server.check_topic(dead_letters).await)? {
        missing.note(server.check_subscribed(dead_letters).await)?;
        missing.note(server.check_writable(dead_letters).await)?;
    } else {
        missing.0.push(server.unsubscribed(dead_letters));
    }
    Ok(missing.0)
}

/// As [`missing_for_consumer`], for who publishes requests and reads results: the input's topic, and
/// the results' subscription where one is configured.
///
/// # Errors
/// As [`missing_for_consumer`].
pub async fn missing_for_reader(config: &PubSubConfig) -> Result<Vec<PubSubError>, PubSubError> {
    let server = Server::connect(&Connection::new(config)?).await?;
    let mut missing = Missing::default();
    missing.note(server.check_topic(&config.topic).await)?;
    if let (Some(topic), Some(id)) = (&config.results_topic, &config.results_subscription_id) {
        missing.note(server.check_topic(topic).await)?;
        let found = server.subscription(id, topic).await;
        missing.note(found.and_then(|found| server.check_results(id, topic, found.as_ref())))?;
    }
    Ok(missing.0)
}

#[derive(Default)]
struct Missing(Vec<PubSubError>);

impl Missing {
    /// Whether it is there; another error than that it is not ends the search.
    fn note<T>(&mut self, found: Result<T, PubSubError>) -> Result<bool, PubSubError> {
        match found {
            Ok(_) => Ok(true),
            Err(missing @ (PubSubError::Missing { .. } | PubSubError::Unusable { .. })) => {
                self.0.push(missing);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
