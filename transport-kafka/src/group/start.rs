//! Where a group begins that has committed nothing.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
};

use super::is_refused_by_group;
use crate::{
    KafkaConfig, KafkaSetupError, KafkaStart,
    connect::log::Logged,
    history::{self, unreachable_at},
    place::places,
};

/// Longer than a transaction may hold back the group's offsets.
const STABLE_WAIT: Duration = Duration::from_secs(70);

/// Commits the present end of every partition for a group that has committed nothing, before this
/// consumer joins it. Blocks.
///
/// So a message that was received has a place to come back to when its consumer is killed, and a
/// partition without one is new, and read from its start. Kafka takes such a commit from outside of
/// the group only while it has no members: of two consumers that start at once, none has received
/// anything when the other commits.
pub(crate) fn begin_at_the_end(config: &KafkaConfig) -> Result<(), KafkaSetupError> {
    let outsider = history::outsider(config)?;
    let spans = history::spans(&outsider, config, &config.topic, KafkaStart::Beginning, None)?;
    let away = |source| unreachable_at(config, source);
    let ends = spans.iter().map(|span| (span.partition, span.end));
    let places = places(&config.topic, ends).map_err(away)?;
    if has_committed(&outsider, &places).map_err(away)? {
        return Ok(());
    }
    match outsider.commit(&places, CommitMode::Sync) {
        Ok(()) => {
            let (group, topic) = (&config.group_id, &config.topic);
            tracing::info!(%group, %topic, "the group has no offsets yet and begins at the end");
            Ok(())
        }
        // Another consumer was faster.
        Err(error) if is_refused_by_group(&error) => {
            if has_committed(&outsider, &places).map_err(away)? {
                return Ok(());
            }
            Err(KafkaSetupError::NoPlace { group: config.group_id.clone() })
        }
        Err(error) => Err(away(error)),
    }
}

/// Whether the group has an offset of any of these partitions.
fn has_committed(
    outsider: &BaseConsumer<Logged>,
    partitions: &TopicPartitionList,
) -> Result<bool, KafkaError> {
    let committed = outsider.committed_offsets(partitions.clone(), STABLE_WAIT)?;
    let is_there = |place: Offset| matches!(place, Offset::Offset(_));
    Ok(committed.elements().iter().any(|element| is_there(element.offset())))
}
