//! The clients of librdkafka, as this configuration and the delivery promise make them.

pub(crate) mod leaving;
pub(crate) mod log;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use stream_inference::names;

use crate::{KafkaConfig, KafkaSetupError};

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

/// Names of one property, of which this library sets the first.
const ALIASES: [(&str, &str); 2] =
    [("linger.ms", "queue.buffering.max.ms"), ("message.timeout.ms", "delivery.timeout.ms")];

impl KafkaConfig {
    /// Offsets are stored by hand, after the delivery report, and committed every second; or they
    /// are committed in transactions alone.
    pub(crate) fn consumer(&self) -> Result<ClientConfig, KafkaSetupError> {
        let mut client = self.fetching_client();
        self.check_group_protocol()?;
        client
            .set("group.id", &self.group_id)
            // Where it begins at the end, the group gets its place before it is joined. A partition without
            // one is new then, or what the group had not read of it has expired: the end would skip messages.
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", (!self.is_exactly_once()).to_string())
            .set("isolation.level", "read_committed")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("queued.min.messages", "10000")
            .set("fetch.wait.max.ms", "100")
            // With enough fetched ahead, librdkafka would look again after a second only.
            .set("fetch.queue.backoff.ms", "10");
        if !self.has_new_group_protocol() {
            client
                .set("partition.assignment.strategy", "cooperative-sticky")
                // Members learn at a heartbeat that one came or left, and partitions that move stand still
                // for up to two of them. The default, 3 s, made that the longest part of a rebalance.
                .set("heartbeat.interval.ms", "500");
        }
        if let Some(id) = &self.group_instance_id {
            client.set("group.instance.id", id);
        }
        self.with_properties(client)
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
        self.check_properties()?;
        for (name, value) in &self.properties {
            // Under two names, chance would decide which of the values holds.
            if let Some((ours, _)) = ALIASES.into_iter().find(|(_, alias)| alias == name) {
                client.remove(ours);
            }
            client.set(name, value);
        }
        Ok(client)
    }
}

/// Asks on a thread that may wait.
pub(crate) async fn blocking<O: Send + 'static>(
    config: &KafkaConfig,
    ask: impl FnOnce(&KafkaConfig) -> Result<O, KafkaSetupError> + Send + 'static,
) -> Result<O, KafkaSetupError> {
    let config = config.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&config)).await;
    asked.map_err(|_| KafkaSetupError::ThreadEnded)?
}
