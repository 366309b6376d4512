//! Whether the settings go together, which needs no broker.

use rdkafka::{error::KafkaError, types::RDKafkaConfRes};

use stream_inference::settings::RULE;

use crate::{KafkaConfig, KafkaSetupError};

/// Properties that the delivery promise rests on, with librdkafka's other names for them.
pub(super) const RESERVED: [&str; 8] = [
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
pub(super) const OWNED: [(&str, &str); 5] = [
    ("auto.offset.reset", "kafka.auto_offset_reset"),
    ("bootstrap.servers", "kafka.bootstrap_servers"),
    ("group.id", "kafka.group_id"),
    ("group.instance.id", "kafka.group_instance_id"),
    ("metadata.broker.list", "kafka.bootstrap_servers"),
];

/// In transactions, offsets are read only once the transactions that commit them have ended.
const RESERVED_IN_TRANSACTIONS: &str = "isolation.level";

/// As the brokers see it; a name that begins with ^ would be a pattern to librdkafka.
fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(allowed)
}

impl KafkaConfig {
    /// Whether the settings go together, which needs no broker: names that Kafka takes, topics of which
    /// none is read and written, routes that are topics of their own, properties that librdkafka knows,
    /// nothing that the delivery promise rests on, no group protocol with what it excludes, no Kerberos.
    ///
    /// # Errors
    /// Says which setting is in the way of which.
    pub fn check(&self) -> Result<(), KafkaSetupError> {
        self.check_source()?;
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

    /// Names, and that what the consumer writes it does not read, for ever.
    pub(crate) fn check_source(&self) -> Result<(), KafkaSetupError> {
        let wrong = |key, expected, found: &str| {
            let rule = format!("{RULE}{expected}, found {found:?}");
            Err(KafkaSetupError::Rule { key, rule })
        };
        if self.bootstrap_servers.trim().is_empty() {
            let expected = "HOST:PORT, more of them separated by commas";
            return wrong("kafka.bootstrap_servers", expected, &self.bootstrap_servers);
        }
        let results = self.results_topic().map(|topic| ("kafka.results_topic", topic));
        let dead_letters = ("kafka.dead_letter_topic", &*self.dead_letter_topic);
        let routes = self.routes.iter().map(|route| ("kafka.routes", &**route));
        let outputs = || results.into_iter().chain([dead_letters]).chain(routes.clone());
        let mut topics = [("kafka.topic", &*self.topic)].into_iter().chain(outputs());
        if let Some((key, name)) = topics.find(|(_, name)| !is_topic_name(name)) {
            return wrong(key, "1 to 249 letters, digits, dots, _ and -", name);
        }
        match outputs().find(|(_, output)| *output == self.topic) {
            Some((key, _)) => Err(KafkaSetupError::OwnOutput { topic: self.topic.clone(), key }),
            None => self.check_routes(),
        }
    }

    /// What is no result must not be read as one, nor the reverse; and none is made twice.
    fn check_routes(&self) -> Result<(), KafkaSetupError> {
        for (index, route) in self.routes.iter().enumerate() {
            let problem = match Some(&**route) {
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

    /// Whether the broker assigns the partitions (KIP-848).
    pub(crate) fn has_new_group_protocol(&self) -> bool {
        let protocol = self.properties.get("group.protocol");
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    /// With the new protocol, a static member that was killed could not come back before the
    /// broker's session is over, and librdkafka refuses what the broker decides. Transactions would
    /// commit for an epoch that the broker changes without an assignment that tells of it.
    pub(crate) fn check_group_protocol(&self) -> Result<(), KafkaSetupError> {
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

    /// Kerberos, TLS, and properties that are not for a person to set.
    pub(crate) fn check_properties(&self) -> Result<(), KafkaSetupError> {
        self.check_mechanism()?;
        self.check_tls()?;
        for name in self.properties.keys() {
            let is_reserved = RESERVED.contains(&name.as_str())
                || (self.is_exactly_once() && name == RESERVED_IN_TRANSACTIONS);
            if is_reserved {
                return Err(KafkaSetupError::ReservedProperty { name: name.clone() });
            }
            if let Some((_, key)) = OWNED.into_iter().find(|(owned, _)| owned == name) {
                return Err(KafkaSetupError::OwnedProperty { name: name.clone(), key });
            }
        }
        Ok(())
    }
}
