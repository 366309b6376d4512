use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::Codec,
    pipeline::{BatchConfig, OnError, PipelineConfig},
};

use super::{ConfigError, Document, Origins, ProbesConfig};
use crate::{Broker, SlotConfig};

/// What any program that answers a stream can be told; `model` is a section of the program's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config<S: Default> {
    /// The Kafka cluster.
    pub kafka: transport_kafka::KafkaConfig,
    /// Google Pub/Sub.
    #[cfg(feature = "pubsub")]
    pub pubsub: transport_pubsub::PubSubConfig,
    /// What the model needs.
    pub model: S,
    /// How the model is exchanged.
    pub slot: SlotConfig,
    /// How messages are gathered.
    pub batch: BatchConfig,
    /// What becomes of messages without an answer.
    pub on_error: OnError,
    /// Probes and metrics.
    pub server: ProbesConfig,
    /// Where each of the values came from.
    #[serde(skip)]
    pub origins: Origins,
}

/// The section of a model that needs nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoSettings {}

impl<S: Default> Default for Config<S> {
    /// With topics and a group of the program's own name, so that two programs do not share one by
    /// mistake.
    fn default() -> Self {
        let program = stream_inference::names::prefix().replace('_', "-");
        Self {
            kafka: transport_kafka::KafkaConfig {
                group_id: program.clone(),
                topic: program.clone(),
                results_topic: Some(format!("{program}-results")),
                dead_letter_topic: format!("{program}-dead-letters"),
                ..transport_kafka::KafkaConfig::default()
            },
            #[cfg(feature = "pubsub")]
            pubsub: transport_pubsub::PubSubConfig {
                subscription_id: format!("{program}-subscription"),
                topic: program.clone(),
                results_topic: Some(format!("{program}-results")),
                dead_letter_topic: format!("{program}-dead-letters"),
                ..transport_pubsub::PubSubConfig::default()
            },
            model: S::default(),
            slot: SlotConfig::default(),
            batch: BatchConfig::default(),
            on_error: OnError::default(),
            server: ProbesConfig::default(),
            origins: Origins::default(),
        }
    }
}

impl<S: Default> Config<S> {
    /// What a pipeline takes of this.
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            batch: self.batch.clone(),
            on_error: self.on_error.clone(),
            ..PipelineConfig::default()
        }
    }

    /// The brokers that any program knows.
    pub(crate) fn brokers(&self) -> Vec<Arc<dyn Broker>> {
        vec![
            Arc::new(self.kafka.clone()),
            #[cfg(feature = "pubsub")]
            Arc::new(self.pubsub.clone()),
        ]
    }

    /// Adds the topics that the codec names to the routes, where they are not there by configuration.
    pub(crate) fn declare(&mut self, codec: &impl Codec) {
        for topic in codec.topics() {
            let add = |routes: &mut Vec<String>| {
                if !routes.iter().any(|route| **route == *topic) {
                    routes.push(topic.to_string());
                }
            };
            add(&mut self.kafka.routes);
            #[cfg(feature = "pubsub")]
            add(&mut self.pubsub.routes);
        }
    }
}

impl<S: Default + Serialize + serde::de::DeserializeOwned> Document for Config<S> {
    type Error = ConfigError;

    const OWN: Option<&str> = Some("model");

    fn origins(&self) -> &Origins {
        &self.origins
    }

    fn origins_mut(&mut self) -> &mut Origins {
        &mut self.origins
    }

    #[cfg_attr(
        not(feature = "pubsub"),
        expect(unused_variables, reason = "they name its emulator")
    )]
    fn settle(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        #[cfg(feature = "pubsub")]
        crate::emulator_from(variables, &mut self.pubsub, &mut self.origins)?;
        self.brokers().iter().try_for_each(|broker| broker.check(&self.origins))
    }

    #[cfg(feature = "pubsub")]
    fn beside(&self) -> Vec<(&'static str, String)> {
        let emulator = self.pubsub.emulator.as_ref().map(|emulator| emulator.endpoint());
        emulator.map(|endpoint| ("pubsub.emulator", endpoint)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        countries: BTreeMap<String, f64>,
        threshold: Option<f64>,
        name: Option<String>,
        store: Option<Store>,
        sources: Vec<Source>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Store {
        url: String,
        api_key: String,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Source {
        password: String,
    }

    fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config<Settings>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, file).unwrap();
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Config::load(Some(&path), variables.iter().map(owned))
    }

    #[test]
    fn a_section_of_ones_own_has_whatever_its_type_has_and_refuses_what_it_has_not() {
        let file = r#"{"model": {"countries": {"NL": 0.125},
            "store": {"url": "redis://me:pw@store:6379/0", "api_key": "k"},
            "sources": [{"password": "pw"}]}}"#;
        let variables = [("FMNIST_MODEL__THRESHOLD", "0.5"), ("FMNIST_MODEL__NAME", "7")];
        let config = load(file, &variables).unwrap();
        assert_eq!(config.model.countries["NL"], 0.125);
        assert_eq!(config.model.threshold, Some(0.5));
        assert_eq!(config.model.name.as_deref(), Some("7"));
        let shown = config.document();
        for hidden in ["\"redis://(hidden)@store:6379/0\"", "\"api_key\": \"(hidden)\""] {
            assert!(shown.contains(hidden), "{shown}");
        }
        assert!(!shown.contains("pw"), "{shown}");

        let wrong = load(r#"{"model": {"country": {"NL": 1}}}"#, &[]).unwrap_err().to_string();
        assert!(wrong.contains("there is no key \"model.country"), "{wrong}");
        let wrong = load("{}", &[("FMNIST_MODEL__THRESHOLD", "high")]).unwrap_err().to_string();
        assert_eq!(wrong, "FMNIST_MODEL__THRESHOLD: model.threshold cannot be used");
    }

    #[test]
    fn what_has_to_be_an_object_is_not_read_from_a_list_by_the_order_of_its_keys() {
        for (file, key) in [
            ("[]", "the document"),
            ("null", "the document"),
            (r#"{"kafka": ["kafka:9092"]}"#, "kafka"),
            (r#"{"batch": []}"#, "batch"),
            (r#"{"model": 3}"#, "model"),
            (r#"{"kafka": {"properties": []}}"#, "kafka.properties"),
        ] {
            let refused = load(file, &[]).unwrap_err().to_string();
            let expected = format!(": {key} has to be an object of keys");
            assert!(refused.ends_with(&expected), "{file}: {refused}");
        }
    }
}
