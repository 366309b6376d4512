//! What has to exist, found or made.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};

use crate::{
    KafkaConfig, KafkaSetupError,
    connect::{blocking, log},
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for topics that were just made.
const UNTIL_VISIBLE: Duration = Duration::from_millis(100);
/// How long a question waits before its client is asked whether it was refused.
const SLICE: Duration = Duration::from_secs(1);
/// Log lines and errors of a client that are read after each question.
const EVENTS: usize = 100;

/// The partitions of each of `topics`.
///
/// Blocks for at most ten seconds a topic.
pub(crate) fn partitions<'t>(
    config: &KafkaConfig,
    topics: impl Iterator<Item = &'t str>,
) -> Result<Vec<Vec<i32>>, KafkaSetupError> {
    look_up(config, topics)?.into_iter().collect()
}

/// What a consumer needs and does not find, each as [`KafkaSetupError::MissingTopic`] with the command that
/// makes it: all of [`KafkaConfig::topics`]. Waits for at most ten seconds a topic.
///
/// # Errors
/// If no broker answers, or refuses the connection.
pub async fn missing_for_consumer(
    config: &KafkaConfig,
) -> Result<Vec<KafkaSetupError>, KafkaSetupError> {
    blocking(config, |config| missing(config, config.topics())).await
}

/// As [`missing_for_consumer`], for who publishes requests and reads results:
/// [`KafkaConfig::topics_of_reader`].
///
/// # Errors
/// As [`missing_for_consumer`].
pub async fn missing_for_reader(
    config: &KafkaConfig,
) -> Result<Vec<KafkaSetupError>, KafkaSetupError> {
    blocking(config, |config| missing(config, config.topics_of_reader())).await
}

fn missing<'t>(
    config: &KafkaConfig,
    topics: impl Iterator<Item = &'t str>,
) -> Result<Vec<KafkaSetupError>, KafkaSetupError> {
    Ok(look_up(config, topics)?.into_iter().filter_map(Result::err).collect())
}

type Found = Result<Vec<i32>, KafkaSetupError>;

fn look_up<'t>(
    config: &KafkaConfig,
    topics: impl Iterator<Item = &'t str>,
) -> Result<Vec<Found>, KafkaSetupError> {
    let mut client = config.reader()?;
    client.set("allow.auto.create.topics", "false");
    let client: BaseConsumer<Refusals> =
        client.create_with_context(Refusals::default()).map_err(KafkaSetupError::Configuration)?;
    topics
        .map(|topic| {
            let servers = config.bootstrap_servers.clone();
            let metadata = metadata(&client, topic, &servers)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            Ok(match found.filter(|t| t.error().is_none() && !t.partitions().is_empty()) {
                Some(found) => Ok(found.partitions().iter().map(|p| p.id()).collect()),
                None => Err(KafkaSetupError::MissingTopic { topic: topic.to_owned(), servers }),
            })
        })
        .collect()
}

/// Asks until there is an answer, a refusal that asking again won't change, or no time left.
fn metadata(
    client: &BaseConsumer<Refusals>,
    topic: &str,
    servers: &str,
) -> Result<Metadata, KafkaSetupError> {
    let begun = Instant::now();
    loop {
        let source = match client.fetch_metadata(Some(topic), SLICE) {
            Ok(metadata) => return Ok(metadata),
            Err(source) => source,
        };
        // Brings what the client has to say to its context. A poll that served a log line answers
        // as one that found nothing.
        for _ in 0..EVENTS {
            client.poll(Duration::ZERO);
        }
        let servers = servers.to_owned();
        if let Some(reason) = client.context().take() {
            return Err(KafkaSetupError::Refused { servers, reason });
        }
        if begun.elapsed() >= TIMEOUT {
            return Err(KafkaSetupError::Unreachable { servers, source });
        }
    }
}

/// Remembers why connections are refused.
#[derive(Default)]
struct Refusals(Mutex<Option<String>>);

impl Refusals {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Refusals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        log::failure(&error, reason);
        if let Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) =
            error.rdkafka_error_code()
        {
            let mut refusal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            refusal.get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ConsumerContext for Refusals {}

/// The form of topics that are made; a number is that of the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLayout {
    /// Partitions of each topic, from 1.
    pub partitions: i32,
    /// Copies of each partition; `None` for the cluster's default.
    pub replication: Option<i32>,
}

impl From<i32> for TopicLayout {
    fn from(partitions: i32) -> Self {
        Self { partitions, replication: None }
    }
}

/// Creates every topic of `config` that is missing, and waits until they can be seen; those that exist
/// are left as they are.
///
/// # Errors
/// [`KafkaSetupError::NotCreated`] if the broker refuses.
pub async fn create_missing(
    config: &KafkaConfig,
    layout: impl Into<TopicLayout>,
) -> Result<(), KafkaSetupError> {
    let TopicLayout { partitions, replication } = layout.into();
    let admin: AdminClient<DefaultClientContext> =
        config.producer(10_000)?.create().map_err(KafkaSetupError::Configuration)?;
    let replication = replication.unwrap_or(-1);
    let topics: Vec<NewTopic<'_>> = config
        .topics()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(replication)))
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
    // A broker under load shows a topic some time after the controller has made it.
    let deadline = Instant::now() + TIMEOUT;
    while !missing_for_consumer(config).await?.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(UNTIL_VISIBLE).await;
    }
    Ok(())
}
