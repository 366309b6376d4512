use transport_kafka::{KafkaConfig, KafkaGuarantee};

use crate::config::Origins;

/// Keys of the section `kafka` that are as often said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Kafka {
    /// Brokers to read a topic of, separated by commas
    #[arg(long = "kafka", value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Where messages come from [default: the metrics' prefix]
    #[arg(long, value_name = "TOPIC", requires = "brokers")]
    topic: Option<String>,
    /// Where results go [default: the metrics' prefix and -results]
    #[arg(long, value_name = "TOPIC", requires = "brokers")]
    results_topic: Option<String>,
    /// Where messages go that can't be answered [default: the metrics' prefix and -dead-letters]
    #[arg(long, value_name = "TOPIC", requires = "brokers")]
    dead_letter_topic: Option<String>,
    /// The consumer group: replicas of the program share the topic by it [default: the metrics' prefix]
    #[arg(long, value_name = "NAME", requires = "brokers")]
    group: Option<String>,
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
    /// Whether any of them was given; the others need the first.
    pub(crate) const fn is_said(&self) -> bool {
        self.brokers.is_some()
    }

    /// Puts what was said over the configuration.
    pub(crate) fn apply(&self, config: &mut KafkaConfig, origins: &mut Origins) {
        let mut set = |key: &str, slot: &mut String, said: &Option<String>| {
            if let Some(said) = said {
                slot.clone_from(said);
                origins.record(format!("kafka.{key}"), "the command line");
            }
        };
        set("bootstrap_servers", &mut config.bootstrap_servers, &self.brokers);
        set("topic", &mut config.topic, &self.topic);
        set("dead_letter_topic", &mut config.dead_letter_topic, &self.dead_letter_topic);
        set("group_id", &mut config.group_id, &self.group);
        for (key, slot, said) in [
            ("results_topic", &mut config.results_topic, &self.results_topic),
            ("group_instance_id", &mut config.group_instance_id, &self.member),
        ] {
            if said.is_some() {
                set(key, slot.get_or_insert_default(), said);
                drop(slot.take_if(|said| said.is_empty()));
            }
        }
        if self.exactly_once {
            config.guarantee = KafkaGuarantee::ExactlyOnce;
            origins.record("kafka.guarantee", "the command line");
        }
        for (name, value) in &self.properties {
            config.properties.insert(name.clone(), value.clone());
            origins.record(format!("kafka.properties.{name}"), "the command line");
        }
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
    fn what_is_said_on_the_command_line_goes_over_the_configuration() {
        let applied = |arguments: &str| {
            let mut config = KafkaConfig { topic: "own".to_owned(), ..KafkaConfig::default() };
            let mut origins = Origins::default();
            let kafka = Arguments::parse_from(arguments.split(' ')).kafka;
            kafka.apply(&mut config, &mut origins);
            (config, origins)
        };
        let (config, origins) = applied(
            "x --kafka a:9092,b:9092 --group risk --member 1 --exactly-once --results-topic scored \
             --property client.rack=a=b",
        );
        assert_eq!((&*config.bootstrap_servers, &*config.group_id), ("a:9092,b:9092", "risk"));
        assert_eq!(config.group_instance_id.as_deref(), Some("1"));
        let topics: Vec<_> = config.topics().collect();
        assert_eq!(topics, ["own", "scored", "INFERENCE-DEAD-LETTERS"]);
        assert_eq!(config.guarantee, KafkaGuarantee::ExactlyOnce);
        assert_eq!(config.properties["client.rack"], "a=b");
        assert_eq!(origins.of("kafka.results_topic"), "the command line");
        assert_eq!(origins.of("kafka.topic"), "default");
        config.check().unwrap();
        let untouched = KafkaConfig { topic: "own".to_owned(), ..KafkaConfig::default() };
        assert_eq!(applied("x"), (untouched, Origins::default()));
    }
}
