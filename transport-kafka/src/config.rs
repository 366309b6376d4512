use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaConfRes};
use serde::{Deserialize, Serialize};
use stream_inference::names;

use crate::KafkaSetupError;

/// How long a result may wait for its confirmation before its message is delivered again.
pub(crate) const PUBLISH_TIMEOUT_MS: u32 = 30_000;
/// How long a transaction may be open before the broker aborts it and shuts out its producer: longer
/// than a publication may take, so that the producer gives up first.
const TRANSACTION_TIMEOUT_MS: u32 = 60_000;
/// How long a transactional producer keeps a connection that it does not use. librdkafka commits no
/// offsets, and waits without a bound, once it learns that the group's coordinator has gone for a
/// while (librdkafka #5511, #5456), until one of its connections opens or closes: this closes one.
const MAX_IDLE_MS: u32 = 5_000;

/// What may wait to be sent, where librdkafka would take 1 GiB: 64 messages of the largest size.
const QUEUE_KBYTES: &str = "65536";

/// Properties that the delivery promise rests on, with librdkafka's other names for them.
const RESERVED: [&str; 8] = [
    "acks",
    "auto.commit.enable",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "request.required.acks",
    "transactional.id",
];

/// Properties that have a key of their own, with the other names for them. What a backfill, a
/// transaction, the lag or a reader needs is taken from the key: a property would decide for some only.
const OWNED: [(&str, &str); 5] = [
    ("auto.offset.reset", "kafka.auto_offset_reset"),
    ("bootstrap.servers", "kafka.bootstrap_servers"),
    ("group.id", "kafka.group_id"),
    ("group.instance.id", "kafka.group_instance_id"),
    ("metadata.broker.list", "kafka.bootstrap_servers"),
];

/// Names of one property, of which this library sets the first.
const ALIASES: [(&str, &str); 2] =
    [("linger.ms", "queue.buffering.max.ms"), ("message.timeout.ms", "delivery.timeout.ms")];

/// In transactions, offsets are read only once the transactions that commit them have ended.
const RESERVED_IN_TRANSACTIONS: &str = "isolation.level";

/// The `kafka` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `HOST:PORT` of some brokers, separated by commas.
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group_id: String,
    /// Where messages come from.
    pub topic: String,
    /// Where results go; `null` or empty for none, then a sink must record them.
    pub results_topic: Option<String>,
    /// Topics that results may go to besides, where the codec chooses one for each.
    pub routes: Vec<String>,
    /// Where messages go that cannot be answered.
    pub dead_letter_topic: String,
    /// Where a new group starts: `earliest` or `latest`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["earliest", "latest"])))]
    pub auto_offset_reset: String,
    /// `at_least_once` or `exactly_once`.
    pub guarantee: KafkaGuarantee,
    /// Static membership: a name that is unique in the group and survives restarts.
    pub group_instance_id: Option<String>,
    /// librdkafka properties by their own dotted names, applied last. Those that have a key here, and
    /// those that the delivery promise rests on, are refused.
    pub properties: BTreeMap<String, String>,
}

/// See [`KafkaConfig::guarantee`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaGuarantee {
    /// Offsets are committed after the results are confirmed; a crash repeats some results.
    AtLeastOnce,
    /// Results, dead letters and offsets are committed in one transaction: readers of committed
    /// messages see every result once. Costs 10–20 ms a batch.
    ExactlyOnce,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            group_id: "consumer-group-1".to_owned(),
            topic: "INFERENCE".to_owned(),
            results_topic: Some("INFERENCE-RESULTS".to_owned()),
            routes: Vec::new(),
            dead_letter_topic: "INFERENCE-DEAD-LETTERS".to_owned(),
            auto_offset_reset: "earliest".to_owned(),
            guarantee: KafkaGuarantee::AtLeastOnce,
            group_instance_id: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// Where results go; an empty name means none, too.
    pub fn results_topic(&self) -> Option<&str> {
        self.results_topic.as_deref().filter(|topic| !topic.is_empty())
    }

    /// Where results go, with and without a topic of their own: the results topic, where there is one,
    /// and the routes.
    pub fn result_topics(&self) -> impl Iterator<Item = &str> {
        self.results_topic().into_iter().chain(self.routes.iter().map(String::as_str))
    }

    /// Input, results where there are any, dead letters and routes.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.topic), self.results_topic(), Some(&*self.dead_letter_topic)]
            .into_iter()
            .flatten()
            .chain(self.routes.iter().map(String::as_str))
    }

    /// Whether the settings go together, which needs no broker: properties that librdkafka knows,
    /// nothing that the delivery promise rests on, no group protocol with what it excludes, no Kerberos,
    /// routes that are topics of their own.
    ///
    /// # Errors
    /// Says which setting is in the way of which.
    pub fn check(&self) -> Result<(), KafkaSetupError> {
        self.check_routes()?;
        let client = match self.consumer() {
            Err(KafkaSetupError::Tls { .. }) => return Ok(()),
            client => client?,
        };
        match client.create_native_config() {
            // Without the value, which may be a password under a misspelt name.
            Err(KafkaError::ClientConfig(
                RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
                reason,
                name,
                _,
            )) => Err(KafkaSetupError::Property { name, reason }),
            // What this build lacks is said where a client is made.
            _ => Ok(()),
        }
    }

    /// Offsets are stored by hand, after the delivery report, and committed every second; or they
    /// are committed in transactions alone.
    pub(crate) fn consumer(&self) -> Result<ClientConfig, KafkaSetupError> {
        let mut client = self.fetching_client();
        self.check_group_protocol()?;
        client
            .set("group.id", &self.group_id)
            .set("auto.offset.reset", &self.auto_offset_reset)
            .set("enable.auto.commit", (!self.is_exactly_once()).to_string())
            .set("isolation.level", "read_committed")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("queued.min.messages", "10000")
            .set("fetch.wait.max.ms", "100")
            // With enough fetched ahead, librdkafka would look again after a second only.
            .set("fetch.queue.backoff.ms", "10");
        if !self.has_new_group_protocol() {
            client.set("partition.assignment.strategy", "cooperative-sticky");
        }
        if let Some(id) = &self.group_instance_id {
            client.set("group.instance.id", id);
        }
        let mut client = self.with_properties(client)?;
        if self.begins_at_the_end() {
            // The group gets its place before it is joined. A partition without one is new then, or
            // what the group had not read of it has expired: the end would skip messages.
            client.set("auto.offset.reset", "earliest");
        }
        Ok(client)
    }

    /// Whether the broker assigns the partitions (KIP-848).
    fn has_new_group_protocol(&self) -> bool {
        let protocol = self.properties.get("group.protocol");
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    /// With the new protocol, a static member that was killed could not come back before the
    /// broker's session is over, and librdkafka refuses what the broker decides. Transactions would
    /// commit for an epoch that the broker changes without an assignment that tells of it.
    fn check_group_protocol(&self) -> Result<(), KafkaSetupError> {
        const THE_BROKERS: [&str; 3] =
            ["heartbeat.interval.ms", "partition.assignment.strategy", "session.timeout.ms"];
        if !self.has_new_group_protocol() {
            return Ok(());
        }
        if self.is_exactly_once() {
            return Err(KafkaSetupError::EpochsInTransactions);
        }
        let conflict = match &self.group_instance_id {
            Some(_) => Some("kafka.group_instance_id"),
            None => THE_BROKERS.into_iter().find(|name| self.properties.contains_key(*name)),
        };
        conflict.map_or(Ok(()), |key| Err(KafkaSetupError::GroupProtocol { key }))
    }

    /// A consumer outside of any group, for readers that commit nothing.
    pub(crate) fn reader(&self) -> Result<ClientConfig, KafkaSetupError> {
        let mut client = self.fetching_client();
        client
            .set("group.id", format!("{}-reader", names::prefix()))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let mut client = self.with_properties(client)?;
        client.remove("group.protocol");
        Ok(client)
    }

    /// Idempotent, so that a retry inside the client neither doubles nor reorders.
    pub(crate) fn producer(&self, timeout_ms: u32) -> Result<ClientConfig, KafkaSetupError> {
        let mut client = self.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("message.timeout.ms", timeout_ms.to_string());
        // Not where messages may be so large that none would ever fit.
        if !self.properties.contains_key("message.max.bytes") {
            client.set("queue.buffering.max.kbytes", QUEUE_KBYTES);
        }
        self.with_properties(client)
    }

    /// A producer whose `transactional.id` is `GROUP/MEMBER`.
    ///
    /// With static membership the id survives restarts, and the next process ends what a killed one
    /// left open. Without, it is new in every process: what was left open ends when its time is up.
    pub(crate) fn transactional_producer(&self) -> Result<ClientConfig, KafkaSetupError> {
        let member = match &self.group_instance_id {
            Some(id) => id.clone(),
            None => format!("{:016x}", RandomState::new().hash_one(std::process::id())),
        };
        let mut client = self.producer(PUBLISH_TIMEOUT_MS)?;
        client.set("transactional.id", format!("{}/{member}", self.group_id));
        for (name, value) in [
            ("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string()),
            ("linger.ms", "0".to_owned()),
            ("connections.max.idle.ms", MAX_IDLE_MS.to_string()),
        ] {
            let mut names = ALIASES.into_iter().filter(|(ours, _)| *ours == name);
            let alias = names.next().map_or(name, |(_, alias)| alias);
            if ![name, alias].iter().any(|name| self.properties.contains_key(*name)) {
                client.set(name, value);
            }
        }
        Ok(client)
    }

    /// Whether a group without offsets leaves out what is there already.
    pub(crate) fn begins_at_the_end(&self) -> bool {
        matches!(&*self.auto_offset_reset, "latest" | "largest" | "end")
    }

    pub(crate) fn is_exactly_once(&self) -> bool {
        self.guarantee == KafkaGuarantee::ExactlyOnce
    }

    /// librdkafka's interval of 0 turns its timer off; then every batch is committed by itself.
    pub(crate) fn commits_batches(&self) -> bool {
        self.properties.get("auto.commit.interval.ms").is_some_and(|interval| interval == "0")
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", names::program())
            .set_log_level(RDKafkaLogLevel::Warning);
        client
    }

    /// With less fetched ahead than librdkafka's 64 MiB.
    fn fetching_client(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("queued.max.messages.kbytes", "8192").set("fetch.max.bytes", "4194304");
        client
    }

    /// A property that only the other kind of client knows is a warning in librdkafka's log.
    fn with_properties(&self, mut client: ClientConfig) -> Result<ClientConfig, KafkaSetupError> {
        self.check_mechanism()?;
        self.check_tls()?;
        for (name, value) in &self.properties {
            let is_reserved = RESERVED.contains(&name.as_str())
                || (self.is_exactly_once() && name == RESERVED_IN_TRANSACTIONS);
            if is_reserved {
                return Err(KafkaSetupError::ReservedProperty { name: name.clone() });
            }
            if let Some((_, key)) = OWNED.into_iter().find(|(owned, _)| owned == name) {
                return Err(KafkaSetupError::OwnedProperty { name: name.clone(), key });
            }
            // Under two names, chance would decide which of the values holds.
            if let Some((ours, _)) = ALIASES.into_iter().find(|(_, alias)| alias == name) {
                client.remove(ours);
            }
            client.set(name, value);
        }
        Ok(client)
    }
}

impl KafkaConfig {
    /// What the consumer writes it must not read, for ever.
    pub(crate) fn check_source(&self) -> Result<(), KafkaSetupError> {
        let outputs = [
            ("kafka.results_topic", self.results_topic()),
            ("kafka.dead_letter_topic", Some(&*self.dead_letter_topic)),
        ];
        let routes = self.routes.iter().map(|route| ("kafka.routes", Some(&**route)));
        let is_source = |(_, output): &(_, Option<&str>)| *output == Some(&*self.topic);
        match outputs.into_iter().chain(routes).find(is_source) {
            Some((key, _)) => Err(KafkaSetupError::OwnOutput { topic: self.topic.clone(), key }),
            None => self.check_routes(),
        }
    }

    /// What is no result must not be read as one, nor the reverse; and none is made twice.
    fn check_routes(&self) -> Result<(), KafkaSetupError> {
        for (index, route) in self.routes.iter().enumerate() {
            let problem = match Some(&**route) {
                Some("") => "is no name",
                route if route == self.results_topic() => "is kafka.results_topic already",
                _ if *route == self.dead_letter_topic => "is kafka.dead_letter_topic already",
                _ if self.routes[..index].contains(route) => "stands there twice",
                _ => continue,
            };
            return Err(KafkaSetupError::Route { topic: route.clone(), problem });
        }
        Ok(())
    }

    /// Kerberos is not built in, and is what librdkafka takes where nothing is said.
    fn check_mechanism(&self) -> Result<(), KafkaSetupError> {
        let value = |name| self.properties.get(name).map(String::as_str);
        let protocol = value("security.protocol").unwrap_or_default();
        let mechanism = value("sasl.mechanisms").or(value("sasl.mechanism")).unwrap_or("GSSAPI");
        let asks = protocol.to_ascii_lowercase().starts_with("sasl");
        match asks && mechanism.eq_ignore_ascii_case("GSSAPI") {
            true => Err(KafkaSetupError::Kerberos),
            false => Ok(()),
        }
    }

    /// librdkafka without OpenSSL would say that a property is not known, or not that it is missing.
    fn check_tls(&self) -> Result<(), KafkaSetupError> {
        let needs = |(name, value): &(&String, &String)| {
            let value = value.to_ascii_lowercase();
            match name.as_str() {
                "security.protocol" => value.ends_with("ssl"),
                // Both are made of OpenSSL's digests.
                "sasl.mechanism" | "sasl.mechanisms" => value != "plain",
                name => name.starts_with("ssl."),
            }
        };
        match self.properties.iter().find(needs) {
            Some((name, _)) if cfg!(not(feature = "tls")) => {
                Err(KafkaSetupError::Tls { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_never_stored_by_the_client_itself() {
        let client = KafkaConfig::default().consumer().expect("a configuration");
        assert_eq!(client.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(client.get("group.id"), Some("consumer-group-1"));
        assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(client.get("group.instance.id"), None);
    }

    #[test]
    fn what_the_client_holds_is_bounded_unless_messages_may_be_larger() {
        let mut config = KafkaConfig::default();
        for client in [config.consumer(), config.reader()] {
            let client = client.expect("a configuration");
            assert_eq!(client.get("queued.max.messages.kbytes"), Some("8192"));
            assert_eq!(client.get("fetch.max.bytes"), Some("4194304"));
        }
        let kbytes = |config: &KafkaConfig| {
            let client = config.producer(1000).expect("a configuration");
            client.get("queue.buffering.max.kbytes").map(str::to_owned)
        };
        assert_eq!(kbytes(&config).as_deref(), Some("65536"));
        config.properties.insert("message.max.bytes".to_owned(), "100000000".to_owned());
        assert_eq!(kbytes(&config), None);
    }

    #[test]
    fn properties_pass_through_by_their_own_names() {
        let properties = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanisms", "PLAIN")];
        let config = KafkaConfig {
            properties: properties.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            ..KafkaConfig::default()
        };
        for client in [config.consumer(), config.producer(1000), config.reader()] {
            let client = client.expect("a configuration");
            for (name, value) in properties {
                assert_eq!(client.get(name), Some(value));
            }
        }
    }

    #[test]
    #[cfg(feature = "tls")]
    fn the_client_is_built_with_tls_scram_and_plain() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let properties = [
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanisms", mechanism),
                ("sasl.username", "user"),
                ("sasl.password", "secret"),
            ];
            let config = KafkaConfig {
                properties: properties.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
                ..KafkaConfig::default()
            };
            let client = config.producer(1000).expect("a configuration");
            drop(client.create::<rdkafka::producer::FutureProducer>().expect(mechanism));
        }
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn what_needs_tls_is_refused_by_name_where_tls_is_not_built_in() {
        for (name, value) in [
            ("security.protocol", "SSL"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("ssl.ca.location", "ca.pem"),
        ] {
            let mechanism = ("sasl.mechanisms".to_owned(), "PLAIN".to_owned());
            let properties = [mechanism, (name.to_owned(), value.to_owned())].into();
            let config = KafkaConfig { properties, ..KafkaConfig::default() };
            for client in [config.consumer(), config.producer(1000), config.reader()] {
                let error = client.expect_err("refused").to_string();
                assert!(error.contains(name) && error.contains("--features kafka-tls"), "{error}");
            }
            config.check().expect("whoever only looks at a configuration needs no client");
        }
    }

    #[test]
    fn a_property_that_would_break_the_delivery_promise_is_refused() {
        for name in RESERVED {
            let properties = [(name.to_owned(), "true".to_owned())].into();
            let config = KafkaConfig { properties, ..KafkaConfig::default() };
            for client in [config.consumer(), config.producer(1000), config.reader()] {
                let error = client.expect_err("refused").to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }

    #[test]
    fn a_property_that_has_a_key_of_its_own_is_refused_with_that_key() {
        for (name, key) in OWNED {
            let properties = [(name.to_owned(), "other".to_owned())].into();
            let config = KafkaConfig { properties, ..KafkaConfig::default() };
            for client in [config.consumer(), config.producer(1000), config.reader()] {
                let error = client.expect_err("refused").to_string();
                assert!(error.contains(name) && error.contains(&format!("use {key}")), "{error}");
            }
        }
    }

    #[test]
    fn a_property_under_its_other_name_holds_instead_of_the_value_of_this_library() {
        let mut config = exactly_once(None);
        for (ours, alias) in ALIASES {
            config.properties.insert(alias.to_owned(), "45".to_owned());
            for client in [config.producer(1000), config.transactional_producer()] {
                let client = client.expect("a configuration");
                assert_eq!((client.get(ours), client.get(alias)), (None, Some("45")));
            }
        }
    }

    #[test]
    fn a_property_that_librdkafka_does_not_know_is_named_without_its_value() {
        let properties = [("sasl.pasword".to_owned(), "open-sesame".to_owned())].into();
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        let error = config.check().expect_err("refused").to_string();
        assert!(error.contains("sasl.pasword") && !error.contains("open-sesame"), "{error}");
    }

    fn exactly_once(group_instance_id: Option<&str>) -> KafkaConfig {
        KafkaConfig {
            guarantee: KafkaGuarantee::ExactlyOnce,
            group_instance_id: group_instance_id.map(str::to_owned),
            ..KafkaConfig::default()
        }
    }

    #[test]
    fn in_transactions_offsets_are_committed_by_the_producer_alone() {
        let consumer = exactly_once(None).consumer().expect("a configuration");
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        assert_eq!(consumer.get("isolation.level"), Some("read_committed"));
        let mut config = exactly_once(None);
        config.properties = [("isolation.level".to_owned(), "read_uncommitted".to_owned())].into();
        assert!(config.consumer().expect_err("refused").to_string().contains("isolation.level"));
    }

    #[test]
    fn a_static_member_keeps_its_transactional_id_and_others_never_share_one() {
        let id = |config: &KafkaConfig| {
            let client = config.transactional_producer().expect("a configuration");
            client.get("transactional.id").expect("an id").to_owned()
        };
        let fixed = exactly_once(Some("consumer-a"));
        assert_eq!([id(&fixed), id(&fixed)], ["consumer-group-1/consumer-a"; 2]);
        let dynamic = exactly_once(None);
        assert_ne!(id(&dynamic), id(&dynamic));
        assert!(id(&dynamic).starts_with("consumer-group-1/"));
    }

    #[test]
    fn a_result_gives_up_before_its_transaction_does() {
        let mut config = exactly_once(None);
        let client = config.transactional_producer().expect("a configuration");
        let millis = |name| client.get(name).and_then(|value| value.parse::<u32>().ok());
        assert!(millis("message.timeout.ms") < millis("transaction.timeout.ms"));
        assert_eq!(client.get("connections.max.idle.ms"), Some("5000"));
        for name in ["transaction.timeout.ms", "connections.max.idle.ms"] {
            config.properties.insert(name.to_owned(), "45000".to_owned());
            let client = config.transactional_producer().expect("a configuration");
            assert_eq!(client.get(name), Some("45000"));
        }
    }

    #[test]
    fn the_new_group_protocol_goes_without_what_the_broker_decides() {
        let with = |name: &str, value: &str| {
            let mut config = KafkaConfig::default();
            config.properties.insert("group.protocol".to_owned(), "consumer".to_owned());
            config.properties.insert(name.to_owned(), value.to_owned());
            config
        };
        let client = with("fetch.wait.max.ms", "50").consumer().expect("a configuration");
        assert_eq!(client.get("group.protocol"), Some("consumer"));
        assert_eq!(client.get("partition.assignment.strategy"), None);
        let native = client.create::<rdkafka::consumer::BaseConsumer>();
        drop(native.expect("librdkafka takes it"));
        let name = "session.timeout.ms";
        let error = with(name, "6000").consumer().expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("group.protocol"), "{error}");
        let group_instance_id = Some("a".to_owned());
        let config = KafkaConfig { group_instance_id, ..with("group.remote.assignor", "uniform") };
        let error = config.consumer().expect_err("static membership").to_string();
        assert!(error.contains("kafka.group_instance_id"), "{error}");
    }

    #[test]
    fn a_source_that_is_an_output_is_refused_with_the_key() {
        let source =
            |topic: &str| KafkaConfig { topic: topic.to_owned(), ..KafkaConfig::default() };
        source("INFERENCE").check_source().expect("a topic of its own");
        for (topic, key) in [
            ("INFERENCE-RESULTS", "kafka.results_topic"),
            ("INFERENCE-DEAD-LETTERS", "kafka.dead_letter_topic"),
        ] {
            let error = source(topic).check_source().expect_err("refused").to_string();
            assert!(error.contains(key) && error.contains("for ever"), "{error}");
        }
        let none = KafkaConfig { results_topic: None, ..source("INFERENCE-RESULTS") };
        none.check_source().expect("nothing is written there");
    }

    #[test]
    fn a_route_is_a_topic_of_its_own_and_is_there_with_the_others() {
        let with = |routes: &[&str]| KafkaConfig {
            routes: routes.iter().map(|route| (*route).to_owned()).collect(),
            ..KafkaConfig::default()
        };
        let config = with(&["REVIEWS", "ALERTS"]);
        config.check_source().expect("topics of their own");
        let topics: Vec<_> = config.topics().collect();
        let others = ["INFERENCE", "INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"];
        assert_eq!(topics, [&others[..], &["REVIEWS", "ALERTS"]].concat());
        for (routes, problem) in [
            (["A", "INFERENCE"], "kafka.topic is INFERENCE, as kafka.routes is"),
            (
                ["A", "INFERENCE-RESULTS"],
                "kafka.routes: \"INFERENCE-RESULTS\" is kafka.results_topic already",
            ),
            (["INFERENCE-DEAD-LETTERS", "A"], "is kafka.dead_letter_topic already"),
            (["A", "A"], "\"A\" stands there twice; remove it"),
            (["A", ""], "\"\" is no name"),
        ] {
            let error = with(&routes).check_source().expect_err("refused").to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn the_new_group_protocol_is_refused_in_transactions_with_what_to_use_instead() {
        let mut config = exactly_once(None);
        config.properties = [("group.protocol".to_owned(), "Consumer".to_owned())].into();
        let error = config.check().expect_err("refused").to_string();
        for part in ["exactly_once", "group.protocol = consumer", "classic", "at_least_once"] {
            assert!(error.contains(part), "{error}");
        }
        config.guarantee = KafkaGuarantee::AtLeastOnce;
        config.check().expect("at least once, offsets follow the epoch");
        config.guarantee = KafkaGuarantee::ExactlyOnce;
        config.properties = [("group.protocol".to_owned(), "classic".to_owned())].into();
        config.check().expect("the classic protocol");
    }

    #[test]
    fn a_partition_without_an_offset_is_read_from_its_start_wherever_the_group_begins() {
        let with = |reset: &str| KafkaConfig {
            auto_offset_reset: reset.to_owned(),
            ..KafkaConfig::default()
        };
        for (config, at_the_end) in [(with("earliest"), false), (with("latest"), true)] {
            let client = config.consumer().expect("a configuration");
            assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
            assert_eq!(config.begins_at_the_end(), at_the_end);
        }
    }

    #[test]
    fn kerberos_is_refused_also_where_it_is_only_the_default() {
        let with = |properties: &[(&str, &str)]| KafkaConfig {
            properties: properties.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            ..KafkaConfig::default()
        };
        let protocol = ("security.protocol", "sasl_ssl");
        for config in [with(&[protocol]), with(&[protocol, ("sasl.mechanism", "GSSAPI")])] {
            let error = config.producer(1000).expect_err("refused").to_string();
            assert!(error.contains("GSSAPI") && error.contains("SCRAM-SHA-512"), "{error}");
        }
        for built_in in
            [with(&[("security.protocol", "SSL")]), with(&[protocol, ("sasl.mechanism", "PLAIN")])]
        {
            let asks = built_in.producer(1000);
            assert!(!matches!(asks, Err(KafkaSetupError::Kerberos)), "{asks:?}");
        }
    }

    #[test]
    fn the_old_section_is_read_and_an_unknown_guarantee_is_refused() {
        let old = r#"{"bootstrap_servers": "b:9092", "group_id": "g", "topic": "T"}"#;
        let config: KafkaConfig = serde_json::from_str(old).expect("the old keys");
        assert_eq!((config.group_id.as_str(), config.topic.as_str()), ("g", "T"));
        assert_eq!(config.results_topic.as_deref(), Some("INFERENCE-RESULTS"));
        let error = serde_json::from_str::<KafkaConfig>(r#"{"guarantee": "at_most_once"}"#);
        let error = error.expect_err("not offered").to_string();
        assert!(error.contains("at_least_once") && error.contains("exactly_once"), "{error}");
        let empty: KafkaConfig =
            serde_json::from_str(r#"{"results_topic": ""}"#).expect("an empty name");
        assert_eq!(empty.results_topic(), None);
        let default = serde_json::to_value(KafkaConfig::default()).expect("JSON");
        assert_eq!(default["guarantee"], "at_least_once");
    }
}
