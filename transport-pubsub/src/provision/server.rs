//! Questions to the administration of topics and subscriptions, and its orders.

mod usable;

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::{
    Error,
    client::{SchemaService, SubscriptionAdmin, TopicAdmin},
    model::Subscription,
};

use crate::{
    PubSubConfig, PubSubError,
    connect::Connection,
    error::{code, is_permanent},
    provision::commands::{self, ACKNOWLEDGE_DEADLINE_SECONDS},
};

/// How long the server may take for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// What a subscription without a topic is attached to.
const DELETED: &str = "_deleted-topic_";

const ABSENT: &str = "does not exist";

pub(crate) fn dead_letter_subscription(config: &PubSubConfig) -> String {
    format!("{}-subscription", config.dead_letter_topic)
}

/// What is known about the subscription that a consumer reads.
#[derive(Debug)]
pub(crate) struct Input {
    /// The short name of its topic, where known.
    pub(crate) topic: Option<String>,
    /// Whether it delivers the messages of a key in order; assumed where not known.
    pub(crate) ordered: bool,
    /// How long a consumer that died keeps its messages to itself.
    pub(crate) acknowledge_deadline: Duration,
}

/// The administration of one project.
pub(crate) struct Server {
    connection: Connection,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    rights: SchemaService,
}

impl Server {
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, PubSubError> {
        Ok(Self {
            topics: connection.topic_admin().await?,
            subscriptions: connection.subscription_admin().await?,
            rights: connection.rights().await?,
            connection: connection.clone(),
        })
    }

    /// Whether everything is there that a consumer needs.
    pub(crate) async fn check_consumer(&self) -> Result<Input, PubSubError> {
        let config = &self.connection.config;
        let subscription = self.check_subscription(&config.subscription_id, &config.topic).await?;
        self.check_source(subscription.as_ref())?;
        for topic in config.result_topics() {
            self.check_topic(topic).await?;
            self.check_writable(topic).await?;
        }
        let dead_letters = &config.dead_letter_topic;
        self.check_topic(dead_letters).await?;
        self.check_subscribed(dead_letters).await?;
        self.check_writable(dead_letters).await?;
        let topic = subscription.as_ref().and_then(|s| s.topic.rsplit('/').next());
        let seconds = subscription.as_ref().map(|s| s.ack_deadline_seconds);
        let seconds = seconds.unwrap_or(ACKNOWLEDGE_DEADLINE_SECONDS).unsigned_abs();
        Ok(Input {
            topic: topic.map(str::to_owned),
            ordered: subscription.as_ref().is_none_or(|s| s.enable_message_ordering),
            acknowledge_deadline: Duration::from_secs(seconds.into()),
        })
    }

    pub(crate) async fn check_topic(&self, topic: &str) -> Result<(), PubSubError> {
        let name = self.connection.config.topic_name(topic);
        let answer = self.topics.get_topic().set_topic(&name).send();
        let command = || self.topic_command(topic);
        self.existing(&name, command, self.answer(&name, answer).await?).map(drop)
    }

    /// The subscription; `None` where this account may not look.
    pub(crate) async fn check_subscription(
        &self,
        subscription: &str,
        topic: &str,
    ) -> Result<Option<Subscription>, PubSubError> {
        let found = self.subscription(subscription, topic).await;
        if matches!(found, Err(PubSubError::Missing { problem, .. }) if problem == ABSENT) {
            // Without its topic, the command would fail.
            self.check_topic(topic).await?;
        }
        found
    }

    pub(crate) async fn subscription(
        &self,
        subscription: &str,
        topic: &str,
    ) -> Result<Option<Subscription>, PubSubError> {
        let name = self.connection.config.subscription_name(subscription);
        let answer = self.subscriptions.get_subscription().set_subscription(&name).send();
        let command = || self.subscription_command(subscription, topic);
        let found = self.existing(&name, command, self.answer(&name, answer).await?)?;
        if found.as_ref().is_some_and(|found| found.topic == DELETED) {
            let problem = "is of a topic that was deleted: delete it too";
            return Err(PubSubError::Missing { resource: name, problem, command: command() });
        }
        Ok(found)
    }

    /// A topic keeps nothing for which there is no subscription.
    pub(crate) async fn check_subscribed(&self, topic: &str) -> Result<(), PubSubError> {
        let name = self.connection.config.topic_name(topic);
        let answer = self.topics.list_topic_subscriptions().set_topic(&name).send();
        let command = || self.topic_command(topic);
        let found = self.existing(&name, command, self.answer(&name, answer).await?)?;
        if found.is_some_and(|found| found.subscriptions.is_empty()) {
            return Err(self.unsubscribed(topic));
        }
        Ok(())
    }

    pub(crate) fn unsubscribed(&self, topic: &str) -> PubSubError {
        let config = &self.connection.config;
        PubSubError::Missing {
            resource: config.topic_name(topic),
            problem: "has no subscription, so that dead letters would be lost",
            command: self.subscription_command(&dead_letter_subscription(config), topic),
        }
    }

    pub(crate) async fn create_topic(&self, topic: &str) -> Result<(), PubSubError> {
        let name = self.connection.config.topic_name(topic);
        let answer = self.answer(&name, self.topics.create_topic().set_name(&name).send()).await?;
        self.created(&name, answer)
    }

    pub(crate) async fn create_subscription(
        &self,
        id: &str,
        topic: &str,
        acknowledge_seconds: i32,
    ) -> Result<(), PubSubError> {
        let name = self.connection.config.subscription_name(id);
        let request = self
            .subscriptions
            .create_subscription()
            .set_name(&name)
            .set_topic(self.connection.config.topic_name(topic))
            .set_ack_deadline_seconds(acknowledge_seconds)
            .set_enable_message_ordering(true);
        let answer = self.answer(&name, request.send()).await?;
        self.created(&name, answer)
    }

    async fn answer<T>(
        &self,
        resource: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, PubSubError> {
        tokio::time::timeout(ANSWER_DEADLINE, request)
            .await
            .map_err(|_| self.unavailable(resource, None))
    }

    fn existing<T>(
        &self,
        resource: &str,
        command: impl Fn() -> String,
        answer: Result<T, Error>,
    ) -> Result<Option<T>, PubSubError> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(error) => match code(&error) {
                Some(Code::NotFound) => Err(PubSubError::Missing {
                    resource: resource.to_owned(),
                    problem: ABSENT,
                    command: command(),
                }),
                // Subscribing and publishing are permissions of their own, and may well be given.
                Some(Code::PermissionDenied) => {
                    tracing::warn!(resource, "cannot check that it exists: needs pubsub.viewer");
                    Ok(None)
                }
                _ => Err(self.failed(resource, error)),
            },
        }
    }

    fn created<T>(&self, resource: &str, answer: Result<T, Error>) -> Result<(), PubSubError> {
        match answer {
            Err(error) if code(&error) != Some(Code::AlreadyExists) => {
                Err(self.failed(resource, error))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, resource: &str, error: Error) -> PubSubError {
        if code(&error).is_some_and(is_permanent) {
            PubSubError::Refused {
                endpoint: self.connection.endpoint.clone(),
                resource: resource.to_owned(),
                source: error.into(),
            }
        } else {
            self.unavailable(resource, Some(error))
        }
    }

    fn unavailable(&self, resource: &str, error: Option<Error>) -> PubSubError {
        PubSubError::Unavailable {
            endpoint: self.connection.endpoint.clone(),
            resource: resource.to_owned(),
            source: error.map(Into::into),
        }
    }

    fn topic_command(&self, topic: &str) -> String {
        commands::topic_command(&self.connection.config, &self.connection.endpoint, topic)
    }

    fn subscription_command(&self, subscription: &str, topic: &str) -> String {
        let Connection { config, endpoint, .. } = &self.connection;
        commands::subscription_command(config, endpoint, subscription, topic)
    }
}
