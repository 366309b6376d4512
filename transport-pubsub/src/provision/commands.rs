//! The commands that make what is missing, for a person.

use crate::PubSubConfig;

/// How long a consumer that died keeps its messages to itself.
pub(super) const ACKNOWLEDGE_DEADLINE_SECONDS: i32 = 60;

/// The command that makes a topic. gcloud can't talk to the emulator without further set-up, curl can.
pub(super) fn topic_command(config: &PubSubConfig, endpoint: &str, topic: &str) -> String {
    match config.emulator {
        Some(_) => format!("curl -X PUT {endpoint}/v1/{}", config.topic_name(topic)),
        None => format!("gcloud pubsub topics create {topic} --project={}", config.project_id),
    }
}

/// As [`topic_command`], of a subscription.
pub(super) fn subscription_command(
    config: &PubSubConfig,
    endpoint: &str,
    subscription: &str,
    topic: &str,
) -> String {
    match config.emulator {
        Some(_) => format!(
            "curl -X PUT {endpoint}/v1/{} -H 'Content-Type: application/json' \
             -d '{{\"topic\": \"{}\", \"enableMessageOrdering\": true}}'",
            config.subscription_name(subscription),
            config.topic_name(topic)
        ),
        None => format!(
            "gcloud pubsub subscriptions create {subscription} --topic={topic} \
             --ack-deadline={ACKNOWLEDGE_DEADLINE_SECONDS} --enable-message-ordering --project={}",
            config.project_id
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Emulator;

    #[test]
    fn commands_name_what_is_missing() {
        let mut config = PubSubConfig { project_id: "demo".to_owned(), ..PubSubConfig::default() };
        assert_eq!(
            topic_command(&config, "", "IN"),
            "gcloud pubsub topics create IN --project=demo"
        );
        assert_eq!(
            subscription_command(&config, "", "sub", "IN"),
            "gcloud pubsub subscriptions create sub --topic=IN --ack-deadline=60 \
             --enable-message-ordering --project=demo"
        );
        config.emulator = Some(Emulator::new("localhost:8085").unwrap());
        assert_eq!(
            topic_command(&config, "http://localhost:8085", "IN"),
            "curl -X PUT http://localhost:8085/v1/projects/demo/topics/IN"
        );
        assert_eq!(
            subscription_command(&config, "http://localhost:8085", "sub", "IN"),
            "curl -X PUT http://localhost:8085/v1/projects/demo/subscriptions/sub \
             -H 'Content-Type: application/json' \
             -d '{\"topic\": \"projects/demo/topics/IN\", \"enableMessageOrdering\": true}'"
        );
    }
}
