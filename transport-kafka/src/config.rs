//! The `kafka` section of the configuration.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stream_inference::settings::{RULE, none_if_empty};

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
    #[serde(deserialize_with = "none_if_empty")]
    pub results_topic: Option<String>,
    /// Topics that results may go to besides, where the codec chooses one for each.
    pub routes: Vec<String>,
    /// Where messages go that cannot be answered.
    pub dead_letter_topic: String,
    /// Where a new group starts: `earliest` or `latest`.
    pub auto_offset_reset: KafkaOffsetReset,
    /// `at_least_once` or `exactly_once`.
    pub guarantee: KafkaGuarantee,
    /// Static membership: a name that is unique in the group and survives restarts.
    #[serde(deserialize_with = "none_if_empty")]
    pub group_instance_id: Option<String>,
    /// librdkafka properties by their own dotted names, applied last. Those that have a key here, and
    /// those that the delivery promise rests on, are refused.
    pub properties: BTreeMap<String, String>,
}

/// See [`KafkaConfig::auto_offset_reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("enum" = ["earliest", "latest"])))]
#[serde(try_from = "String", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaOffsetReset {
    /// At the oldest message that is there.
    Earliest,
    /// At the first message that comes from now on.
    Latest,
}

impl TryFrom<String> for KafkaOffsetReset {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => Err(format!("{RULE}earliest or latest, found {name:?}")),
        }
    }
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
            auto_offset_reset: KafkaOffsetReset::Earliest,
            guarantee: KafkaGuarantee::AtLeastOnce,
            group_instance_id: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// Where results go.
    pub fn results_topic(&self) -> Option<&str> {
        self.results_topic.as_deref()
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

    /// What a program that publishes requests and reads results needs: input, and results where there are
    /// any.
    pub fn topics_of_reader(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.topic), self.results_topic()].into_iter().flatten()
    }

    /// Whether a group without offsets leaves out what is there already.
    pub(crate) fn begins_at_the_end(&self) -> bool {
        self.auto_offset_reset == KafkaOffsetReset::Latest
    }

    pub(crate) fn is_exactly_once(&self) -> bool {
        self.guarantee == KafkaGuarantee::ExactlyOnce
    }

    /// librdkafka's interval of 0 turns its timer off; then every batch is committed by itself.
    pub(crate) fn commits_batches(&self) -> bool {
        self.properties.get("auto.commit.interval.ms").is_some_and(|interval| interval == "0")
    }
}
