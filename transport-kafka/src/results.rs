//! Reads results, for a page.

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};

use crate::{KafkaConfig, KafkaSetupError, connect::log::Logged, provision};

/// Reads the results topic from its end on, outside of any group: what a page shows live.
pub struct KafkaResults {
    consumer: StreamConsumer<Logged>,
}

impl KafkaResults {
    /// Starts at the end of `config.results_topic`; `None` if there is no such topic configured.
    ///
    /// # Errors
    /// If the broker is away or the topic does not exist.
    pub async fn connect(config: &KafkaConfig) -> Result<Option<Self>, KafkaSetupError> {
        let Some(topic) = config.results_topic().map(str::to_owned) else { return Ok(None) };
        let config = config.clone();
        let connect = move || {
            let partitions = provision::partitions(&config, [&*topic].into_iter())?.remove(0);
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
            Ok(Some(Self { consumer }))
        };
        tokio::task::spawn_blocking(connect).await.map_err(|_| KafkaSetupError::ThreadEnded)?
    }

    /// The next result's payload. Waits through outages. Cancel safe.
    pub async fn next(&self) -> Bytes {
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    return message.payload().map(Bytes::copy_from_slice).unwrap_or_default();
                }
                Err(error) => tracing::debug!(%error, "reading results"),
            }
        }
    }
}
