use transport_kafka::{KafkaConfig, KafkaGuarantee};

/// From topic to topic.
#[derive(Debug, clap::Args)]
pub(crate) struct Kafka {
    /// Brokers to read a topic of, separated by commas; without, messages are lines on stdin
    #[arg(long = "kafka", value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Where messages come from
    #[arg(long, value_name = "TOPIC", default_value = "own-messages", requires = "brokers")]
    topic: String,
    /// Where results go
    #[arg(long, value_name = "TOPIC", default_value = "own-results", requires = "brokers")]
    results_topic: String,
    /// Where messages go that can't be answered
    #[arg(long, value_name = "TOPIC", default_value = "own-dead-letters", requires = "brokers")]
    dead_letter_topic: String,
    /// The consumer group: replicas of the program share the topic by it
    #[arg(long, value_name = "NAME", default_value = "own-models", requires = "brokers")]
    group: String,
    /// This replica's name, unique in the group and kept over restarts: static membership
    #[arg(long, value_name = "NAME", requires = "brokers")]
    member: Option<String>,
    /// Results and offsets in one transaction: readers of committed messages see each result once
    #[arg(long, requires = "brokers")]
    exactly_once: bool,
    /// A property of librdkafka, such as ssl.ca.location=ca.pem; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property, requires = "brokers")]
    properties: Vec<(String, String)>,
}

impl Kafka {
    /// `None` without brokers.
    pub(crate) fn config(self) -> Option<KafkaConfig> {
        Some(KafkaConfig {
            bootstrap_servers: self.brokers?,
            group_id: self.group,
            topic: self.topic,
            results_topic: Some(self.results_topic),
            dead_letter_topic: self.dead_letter_topic,
            guarantee: match self.exactly_once {
                true => KafkaGuarantee::ExactlyOnce,
                false => KafkaGuarantee::AtLeastOnce,
            },
            group_instance_id: self.member,
            properties: self.properties.into_iter().collect(),
            ..KafkaConfig::default()
        })
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        kafka: Kafka,
    }

    #[test]
    fn arguments_are_the_transports_configuration() {
        let arguments = "x --kafka a:9092,b:9092 --group risk --member 1 --exactly-once \
                         --property client.rack=a=b";
        let config = Arguments::parse_from(arguments.split(' ')).kafka.config().unwrap();
        assert_eq!((&*config.bootstrap_servers, &*config.group_id), ("a:9092,b:9092", "risk"));
        assert_eq!(config.group_instance_id.as_deref(), Some("1"));
        let topics: Vec<_> = config.topics().collect();
        assert_eq!(topics, ["own-messages", "own-results", "own-dead-letters"]);
        assert_eq!(config.guarantee, KafkaGuarantee::ExactlyOnce);
        assert_eq!(config.properties["client.rack"], "a=b");
        config.check().unwrap();
        assert_eq!(Arguments::parse_from(["x"]).kafka.config(), None);
    }
}
