use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};

use crate::{KafkaConfig, KafkaSetupError, log::Logged};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The partitions of each of `topics`.
///
/// Blocks for at most ten seconds a topic.
pub(crate) fn partitions<'t>(
    config: &KafkaConfig,
    topics: impl Iterator<Item = &'t str>,
) -> Result<Vec<Vec<i32>>, KafkaSetupError> {
    let mut client = config.reader()?;
    client.set("allow.auto.create.topics", "false");
    let client: BaseConsumer<Logged> =
        client.create_with_context(Logged).map_err(KafkaSetupError::Configuration)?;
    topics
        .map(|topic| {
            let servers = config.bootstrap_servers.clone();
            let metadata = client.fetch_metadata(Some(topic), TIMEOUT).map_err(|source| {
                KafkaSetupError::Unreachable { servers: servers.clone(), source }
            })?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            match found.filter(|t| t.error().is_none() && !t.partitions().is_empty()) {
                Some(found) => Ok(found.partitions().iter().map(|p| p.id()).collect()),
                None => Err(KafkaSetupError::MissingTopic { topic: topic.to_owned(), servers }),
            }
        })
        .collect()
}

/// Creates the topics of `config` that do not exist yet, with `partitions` partitions each and the
/// broker's default replication.
///
/// # Errors
/// [`KafkaSetupError::NotCreated`] if the broker refuses.
pub async fn create_topics(config: &KafkaConfig, partitions: i32) -> Result<(), KafkaSetupError> {
    let admin: AdminClient<DefaultClientContext> =
        config.producer(10_000)?.create().map_err(KafkaSetupError::Configuration)?;
    let topics: Vec<NewTopic<'_>> = config
        .topics()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(-1)))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let servers = config.bootstrap_servers.clone();
    let results = admin
        .create_topics(&topics, &options)
        .await
        .map_err(|source| KafkaSetupError::Unreachable { servers, source })?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(KafkaSetupError::NotCreated { topic, reason: code.to_string() });
            }
        }
    }
    Ok(())
}
