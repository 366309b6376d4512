//! Why nothing was started.

use rdkafka::error::KafkaError;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaSetupError {
    /// librdkafka refused the configuration.
    #[error("librdkafka refused the configuration; see kafka.properties")]
    Configuration(#[source] KafkaError),
    /// librdkafka does not take a property.
    #[error("kafka.properties: librdkafka does not take {name}: {reason}")]
    Property {
        /// The property.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
    /// A property would break the delivery promise.
    #[error(
        "kafka.properties must not set {name}: offsets follow confirmed results, the producer is \
         idempotent, and transactions read what is committed"
    )]
    ReservedProperty {
        /// The property.
        name: String,
    },
    /// A property that has a key of its own.
    #[error(
        "kafka.properties must not set {name}: use {key}, which backfills and readers take, too"
    )]
    OwnedProperty {
        /// The property.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// The group protocol `consumer` leaves to the broker what a key decides.
    #[error(
        "group.protocol = consumer goes without {key}: the broker decides that, and would keep a \
         killed static member out until its session is over; remove one of the two"
    )]
    GroupProtocol {
        /// The key.
        key: &'static str,
    },
    /// Transactions commit for an epoch of the member, which the group protocol `consumer` changes.
    #[error(
        "kafka.guarantee = \"exactly_once\" goes without group.protocol = consumer: the broker \
         changes a member's epoch without a word to it, and refuses every transaction of the one \
         before; leave group.protocol out (the classic protocol), or take kafka.guarantee = \
         \"at_least_once\""
    )]
    EpochsInTransactions,
    /// A group that is to begin at the end has committed nothing and has members already.
    #[error(
        "group {group} has members that have committed nothing, so where it begins is not known: \
         stop them, and start again; or set kafka.auto_offset_reset to earliest"
    )]
    NoPlace {
        /// The group.
        group: String,
    },
    /// Kerberos is asked for, or nothing is, which is the same to librdkafka.
    #[error(
        "SASL mechanism GSSAPI (Kerberos), librdkafka's default, is not built in; set \
         sasl.mechanisms to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )]
    Kerberos,
    /// TLS is asked for, or what is made of it, and this build is without.
    #[error(
        "kafka.properties sets {name}, and this program was built without TLS: build it with \
         --features kafka-tls, as in cargo run --release --features kafka-tls --example kafka_consumer \
         (a program of your own: the feature tls of transport-kafka)"
    )]
    Tls {
        /// The property.
        name: String,
    },
    /// A broker, or this client, refused the connection: certificate or credentials.
    #[error("no connection to {servers}: {reason}; see the security properties in docs/kafka.md")]
    Refused {
        /// The bootstrap servers.
        servers: String,
        /// What the client said.
        reason: String,
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
    /// The topic to read is one of those that are written to.
    #[error(
        "kafka.topic is {topic}, as {key} is: what the consumer writes there it would read again, \
         for ever; name another"
    )]
    OwnOutput {
        /// The topic.
        topic: String,
        /// The key of the output.
        key: &'static str,
    },
    /// A value that its key can't have.
    #[error("{key} {rule}")]
    Rule {
        /// The key.
        key: &'static str,
        /// What it has to be, and what was found.
        rule: String,
    },
    /// A route is no topic of its own.
    #[error("kafka.routes: {topic:?} {problem}; remove it")]
    Route {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        problem: &'static str,
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
