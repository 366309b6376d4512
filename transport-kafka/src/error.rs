use rdkafka::error::KafkaError;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaSetupError {
    /// librdkafka refused the configuration.
    #[error("librdkafka refused the configuration; see kafka.properties")]
    Configuration(#[source] KafkaError),
    /// A property would break the delivery promise.
    #[error(
        "kafka.properties must not set {name}: offsets follow confirmed results, the producer is \
         idempotent, and transactions read what is committed"
    )]
    ReservedProperty {
        /// The property.
        name: String,
    },
    /// No broker answered.
    #[error(
        "no broker at {servers} answered; is Kafka running, and is kafka.bootstrap_servers right?"
    )]
    Unreachable {
        /// The bootstrap servers.
        servers: String,
        /// What the client said.
        source: KafkaError,
    },
    /// The broker gives no transactional id.
    #[error(
        "no transactions at {servers}: kafka.guarantee = \"exactly_once\" needs the right to write \
         the transactional ids that begin with the group's name"
    )]
    Transactions {
        /// The bootstrap servers.
        servers: String,
        /// What the client said.
        source: KafkaError,
    },
    /// A topic does not exist.
    #[error(
        "topic {topic} does not exist; create it: \
         kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 4"
    )]
    MissingTopic {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        servers: String,
    },
    /// A topic can't be created.
    #[error("topic {topic} cannot be created: {reason}")]
    NotCreated {
        /// The topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// The thread that asked the broker ended early.
    #[error("the thread that asked the broker ended early")]
    ThreadEnded,
}
