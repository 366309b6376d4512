//! Where results and dead letters go.

use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use stream_inference::transport::Outbound;

use crate::KafkaConfig;

/// The topics that are written: there at the start, or there was none.
pub(crate) struct Outputs {
    results: Option<Arc<str>>,
    routes: Box<[Box<str>]>,
    pub(crate) dead_letters: Arc<str>,
}

impl Outputs {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self {
            results: config.results_topic().map(Into::into),
            routes: config.routes.iter().map(|route| route.as_str().into()).collect(),
            dead_letters: config.dead_letter_topic.as_str().into(),
        }
    }

    pub(crate) fn has_route(&self, topic: &str) -> bool {
        self.routes.iter().any(|route| **route == *topic)
    }

    /// The topic of a result.
    ///
    /// # Errors
    /// As if Kafka had none such: nothing is sent where a broker would make a topic of it.
    pub(crate) fn of<'a>(&'a self, result: &'a Outbound) -> Result<&'a str, KafkaError> {
        let topic = match &result.topic {
            Some(topic) => self.has_route(topic).then_some(&**topic),
            None => self.results.as_deref(),
        };
        topic.ok_or(KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic))
    }

    /// A topic that does not take what is sent to it, as a person calls it.
    pub(crate) fn name(&self, topic: &str) -> String {
        let kind = if *topic == *self.dead_letters { "dead-letter" } else { "results" };
        format!("{kind} topic {topic}")
    }
}
