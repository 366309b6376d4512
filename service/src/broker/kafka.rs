//! Apache Kafka.

use bytes::Bytes;
use jiff::Timestamp;
use stream_inference::{
    codec::PartId,
    transport::{Source, Transport, TransportError},
};
use transport_kafka::{
    KafkaConfig, KafkaHistory, KafkaPlace, KafkaPublisher, KafkaResults, KafkaSetupError,
    KafkaSpan, KafkaStart, KafkaTransport, TopicLayout,
};

use super::{Broker, Later, Producer, Results};
use crate::{
    ConfigError, Each, History, Letters, Redrive, Role, SurveyArguments, Topic, Within,
    config::Origins,
};

impl Broker for KafkaConfig {
    fn name(&self) -> &'static str {
        KafkaTransport::NAME
    }

    fn title(&self) -> &'static str {
        "Kafka"
    }

    fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        self.check().map_err(|error| match error {
            KafkaSetupError::Rule { key, rule } => ConfigError::rule(origins, key, rule),
            error => ConfigError::Broker(error.into()),
        })
    }

    fn results_topic(&self) -> Option<&str> {
        self.results_topic()
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }

    fn producer(&self) -> Later<'_, anyhow::Result<Producer>> {
        Box::pin(async {
            let publisher = KafkaPublisher::connect(self).await?;
            let probed = publisher.clone();
            Ok(Producer::new(KafkaTransport::NAME, publisher).with_probe(move || {
                let publisher = probed.clone();
                async move { Ok(publisher.probe().await?) }
            }))
        })
    }

    fn results(&self) -> Option<Later<'_, anyhow::Result<Box<dyn Results>>>> {
        self.results_topic()?;
        Some(Box::pin(async {
            let reader = KafkaResults::connect(self).await?;
            Ok(Box::new(reader.expect("there is a topic")) as Box<dyn Results>)
        }))
    }

    fn needs(&self, role: Role) -> String {
        let topics: Vec<&str> = match role {
            Role::Consumer => self.topics().collect(),
            Role::Page => self.topics_of_reader().collect(),
        };
        format!("Kafka at {}: topics {}", self.bootstrap_servers, topics.join(", "))
    }

    fn missing(&self, role: Role) -> Later<'_, anyhow::Result<Vec<anyhow::Error>>> {
        Box::pin(async move {
            let missing = match role {
                Role::Consumer => transport_kafka::missing_for_consumer(self).await?,
                Role::Page => transport_kafka::missing_for_reader(self).await?,
            };
            Ok(missing.into_iter().map(Into::into).collect())
        })
    }

    fn create<'a>(&'a self, arguments: &'a SurveyArguments) -> Later<'a, anyhow::Result<()>> {
        let SurveyArguments { partitions, replication, .. } = *arguments;
        let layout = TopicLayout { partitions, replication };
        Box::pin(async move { Ok(transport_kafka::create_missing(self, layout).await?) })
    }

    fn letters(&self) -> anyhow::Result<&dyn Letters> {
        Ok(self)
    }

    fn history(&self) -> anyhow::Result<&dyn History> {
        Ok(self)
    }
}

impl Results for KafkaResults {
    fn next(&mut self) -> Later<'_, Result<Bytes, TransportError>> {
        Box::pin(self.next())
    }
}

impl Letters for KafkaConfig {
    /// The letters stay on their topic.
    fn send_again<'a>(&'a self, redrive: &'a mut Redrive<'_>) -> Later<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let (from, to) = (redrive.arguments.from, redrive.arguments.to);
            let start = from.map_or(KafkaStart::Beginning, at);
            let until = to.map(Timestamp::as_millisecond);
            let now = Timestamp::now();
            let publisher = KafkaPublisher::connect(self).await?;
            let config = self.clone();
            let open = move || KafkaHistory::open(&config, &config.dead_letter_topic, start, until);
            let mut history = tokio::task::spawn_blocking(open).await??;
            while let Some(record) = tokio::task::block_in_place(|| history.next_record())? {
                let letter = format!("partition {} offset {}", record.partition, record.offset);
                redrive.offer(&publisher, record.message, &letter).await?;
            }
            eprintln!("go on with --from {}", to.unwrap_or(now));
            Ok(())
        })
    }
}

impl History for KafkaConfig {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn read(
        &self,
        topic: Topic,
        from: Timestamp,
        to: Option<Timestamp>,
        each: &mut Each<'_>,
    ) -> anyhow::Result<Within> {
        let has_results = self.result_topics().next().is_some();
        anyhow::ensure!(has_results, "there is no results topic to audit");
        let topics: Vec<&str> = match topic {
            Topic::Input => vec![&self.topic],
            Topic::Results => self.result_topics().collect(),
            Topic::DeadLetters => vec![&self.dead_letter_topic],
        };
        let mut spans = Vec::new();
        for topic in topics {
            let to = to.map(Timestamp::as_millisecond);
            let mut history = KafkaHistory::open(self, topic, at(from), to)?;
            spans.extend_from_slice(history.spans());
            while let Some(record) = history.next_record()? {
                each(record.place(topic).to_string(), record.message)?;
            }
        }
        let topic = self.topic.clone();
        Ok(Box::new(move |id| is_counted(id, &topic, &spans)))
    }

    fn source(&self, id: &str) -> Option<Source> {
        let KafkaPlace { topic, partition, offset } = KafkaPlace::parse(id)?;
        Some(Source {
            transport: KafkaTransport::NAME.into(),
            topic: topic.into(),
            partition: Some(partition),
            offset: Some(offset),
            message_id: None,
        })
    }
}

fn at(time: Timestamp) -> KafkaStart {
    KafkaStart::Time(time.as_millisecond())
}

/// Whether an end is the window's affair: not that of a message that lies before or behind it.
///
/// What no message of the topic can have is counted, and comes out as an orphan.
fn is_counted(id: &str, topic: &str, spans: &[KafkaSpan]) -> bool {
    let Some(place) = KafkaPlace::parse(PartId::message(id)) else { return true };
    let span = spans.iter().find(|span| span.partition == place.partition);
    match span {
        Some(span) if place.topic == topic => {
            let before = (0..span.start).contains(&place.offset);
            // Also what was written after the history was opened.
            let behind = place.offset >= span.end;
            !before && !behind
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_messages_outside_of_the_window_are_not_its_affair() {
        let spans = [KafkaSpan { partition: 0, start: 10, end: 20 }];
        let counted = |id| is_counted(id, "IN", &spans);
        assert!(counted("IN/0/10") && counted("IN/0/19#2/3"));
        assert!(!counted("IN/0/9") && !counted("IN/0/20") && !counted("IN/0/30#1/2"));
        // No message has such an id.
        for id in ["IN/1/10", "OTHER/0/10", "IN/0/-1", "IN/0/x", "nonsense"] {
            assert!(counted(id), "{id}");
        }
    }
}
