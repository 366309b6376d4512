//! Reads results, for a page.

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
};
use stream_inference::transport::TransportError;
use tokio::time::Instant;

use crate::{
    KafkaConfig, KafkaSetupError,
    connect::{
        blocking,
        log::{Logged, REPORT_INTERVAL},
    },
    provision,
};

/// Reads the results topic from its end on, outside of any group: what a page shows live.
pub struct KafkaResults {
    consumer: StreamConsumer<Logged>,
    topic: String,
    /// When trouble was last told.
    told: Option<Instant>,
}

impl KafkaResults {
    /// Starts at the end of `config.results_topic`; `None` if there is no such topic configured.
    ///
    /// # Errors
    /// If the broker is away or the topic does not exist.
    pub async fn connect(config: &KafkaConfig) -> Result<Option<Self>, KafkaSetupError> {
        let Some(topic) = config.results_topic().map(str::to_owned) else { return Ok(None) };
        let connect = move |config: &KafkaConfig| {
            let partitions = provision::partitions(config, [&*topic].into_iter())?.remove(0);
            let consumer: StreamConsumer<Logged> = config
                .reader()?
                .create_with_context(Logged)
                .map_err(KafkaSetupError::Configuration)?;
            let mut assignment = TopicPartitionList::new();
            for partition in partitions {
                assignment
                    .add_partition_offset(&topic, partition, Offset::End)
                    .map_err(KafkaSetupError::Configuration)?;
            }
            consumer.assign(&assignment).map_err(KafkaSetupError::Configuration)?;
            Ok(Some(Self { consumer, topic, told: None }))
        };
        blocking(config, connect).await
    }

    /// Waits for the next result, as it was published. Cancel safe.
    ///
    /// # Errors
    /// As [`Transport::recv`](stream_inference::transport::Transport::recv). The client mends an outage by
    /// itself, and is said to be in one every ten seconds at most.
    pub async fn next(&mut self) -> Result<Bytes, TransportError> {
        loop {
            let error = match self.consumer.recv().await {
                Ok(message) => {
                    return Ok(message.payload().map(Bytes::copy_from_slice).unwrap_or_default());
                }
                Err(error) => error,
            };
            let context = format!("Kafka does not deliver {}", self.topic);
            if let KafkaError::MessageConsumptionFatal(_) = error {
                return Err(TransportError::Fatal { context, source: Some(error.into()) });
            }
            if self.told.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
                self.told = Some(Instant::now());
                return Err(TransportError::Unavailable { context, source: Some(error.into()) });
            }
        }
    }
}
