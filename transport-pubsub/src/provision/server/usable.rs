//! Whether what is there can be used: subscriptions to read, topics to write.

use google_cloud_pubsub::model::Subscription;

use super::Server;
use crate::{PubSubError, connect::Connection};

const PUBLISH: &str = "pubsub.topics.publish";

impl Server {
    /// Whether a consumer can read the subscription, and would not read what it writes.
    pub(crate) fn check_source(&self, found: Option<&Subscription>) -> Result<(), PubSubError> {
        let Some(found) = found else { return Ok(()) };
        let config = &self.connection.config;
        self.check_pull(found, &config.subscription_id)?;
        for topic in config.result_topics().chain([&config.dead_letter_topic]) {
            if found.topic == config.topic_name(topic) {
                let (id, input) = (&config.subscription_id, &config.topic);
                let problem = format!(
                    "is of {topic}, where the consumer writes: it would read that for ever"
                );
                return Err(self.of_another_topic(id, problem, "subscription_id", input));
            }
        }
        if found.topic != config.topic_name(&config.topic) {
            tracing::warn!(
                subscription = found.name,
                topic = found.topic,
                "it is not of pubsub.topic, where requests are published"
            );
        }
        Ok(())
    }

    /// The results' subscription, which a reader acknowledges whatever comes on it.
    pub(crate) async fn check_reader(&self, id: &str, topic: &str) -> Result<(), PubSubError> {
        let found = self.check_subscription(id, topic).await?;
        self.check_results(id, topic, found.as_ref())
    }

    /// Whether the subscription is one that a reader of results may acknowledge.
    pub(crate) fn check_results(
        &self,
        id: &str,
        topic: &str,
        found: Option<&Subscription>,
    ) -> Result<(), PubSubError> {
        let Some(found) = found else { return Ok(()) };
        let config = &self.connection.config;
        self.check_pull(found, id)?;
        for other in [&config.topic, &config.dead_letter_topic] {
            if found.topic == config.topic_name(other) {
                let problem =
                    format!("is of {other}, whose messages would be acknowledged and lost");
                return Err(self.of_another_topic(id, problem, "results_subscription_id", topic));
            }
        }
        Ok(())
    }

    /// Whether messages wait on the subscription until they are fetched.
    fn check_pull(&self, found: &Subscription, id: &str) -> Result<(), PubSubError> {
        let Connection { config, endpoint, .. } = &self.connection;
        let resource = config.subscription_name(id);
        let url = found.push_config.as_ref().map_or("", |push| push.push_endpoint.as_str());
        let exports = [
            (found.bigquery_config.is_some(), "BigQuery"),
            (found.cloud_storage_config.is_some(), "Cloud Storage"),
            (found.bigtable_config.is_some(), "Bigtable"),
        ];
        let export = exports.into_iter().find_map(|(is_set, name)| is_set.then_some(name));
        let create = || self.subscription_command(id, &config.topic);
        let (problem, remedy) = if found.detached {
            let problem = "is detached from its topic, so that nothing comes".to_owned();
            (problem, format!("delete it and create it again: {}", create()))
        } else if let Some(name) = export {
            let problem = format!("exports its messages to {name} and gives a consumer none");
            (problem, format!("name another, or create one: {}", create()))
        } else if !url.is_empty() {
            let problem = format!("pushes its messages to {url} and gives a consumer none");
            let command = match config.emulator {
                Some(_) => format!(
                    "curl -X POST {endpoint}/v1/{resource}:modifyPushConfig \
                     -H 'Content-Type: application/json' -d '{{\"pushConfig\": {{}}}}'"
                ),
                None => format!(
                    "gcloud pubsub subscriptions modify-push-config {id} --push-endpoint= \
                     --project={}",
                    config.project_id
                ),
            };
            (problem, format!("let it wait for consumers: {command}"))
        } else {
            return Ok(());
        };
        Err(PubSubError::Unusable { resource, problem, remedy })
    }

    fn of_another_topic(&self, id: &str, problem: String, key: &str, topic: &str) -> PubSubError {
        PubSubError::Unusable {
            resource: self.connection.config.subscription_name(id),
            problem,
            remedy: format!("set pubsub.{key} to a subscription of {topic}"),
        }
    }

    /// Whether this account may publish on the topic, as far as the server says.
    pub(crate) async fn check_writable(&self, topic: &str) -> Result<(), PubSubError> {
        let config = &self.connection.config;
        let name = config.topic_name(topic);
        let question = self.rights.test_iam_permissions().set_resource(&name);
        match self.answer(&name, question.set_permissions([PUBLISH]).send()).await? {
            Ok(granted) if !granted.permissions.iter().any(|granted| granted == PUBLISH) => {
                Err(PubSubError::Unusable {
                    resource: name,
                    problem: format!("takes nothing from this account, which has no {PUBLISH}"),
                    remedy: format!(
                        "grant it: gcloud pubsub topics add-iam-policy-binding {topic} \
                         --member=serviceAccount:ACCOUNT --role=roles/pubsub.publisher --project={}",
                        config.project_id
                    ),
                })
            }
            Ok(_) => Ok(()),
            // Emulators know no rights. Where they can't be asked for, publishing will tell.
            Err(error) => {
                tracing::debug!(resource = name, %error, "the right to publish can't be asked for");
                Ok(())
            }
        }
    }
}
