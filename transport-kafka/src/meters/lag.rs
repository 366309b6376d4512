//! How far the consumer is behind the end of its partitions.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use metrics::Gauge;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, KafkaResult},
};
use stream_inference::Part;

use crate::{group::membership::Membership, shared::Shared};

/// The brokers are asked that often: one request to each that leads an assigned partition.
/// librdkafka's own statistics would say the same, and wake threads where messages are waited for
/// (rust-rdkafka #665).
const INTERVAL: Duration = Duration::from_secs(5);
/// How soon after the group is joined the lag is known for the first time.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
/// Closing the consumer may have to wait that long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps the lag of every partition that was assigned once; that of one that is not any more is 0.
pub(crate) async fn watch(membership: Weak<Membership>, shared: Arc<Shared>, part: Part) {
    let mut gauges: HashMap<i32, Gauge> = HashMap::new();
    loop {
        let wait = if gauges.is_empty() { FIRST_INTERVAL } else { INTERVAL };
        tokio::time::sleep(wait).await;
        let (membership, marks) = (membership.clone(), Arc::clone(&shared));
        let asked = tokio::task::spawn_blocking(move || match membership.upgrade() {
            Some(membership) => measure(&membership, &marks).map(Some),
            None => Ok(None),
        });
        match asked.await {
            Ok(Ok(Some(lags))) => {
                for (partition, gauge) in &gauges {
                    gauge.set(*lags.get(partition).unwrap_or(&0) as f64);
                }
                for (partition, lag) in lags {
                    let gauge = gauges.entry(partition);
                    gauge.or_insert_with(|| shared.meters.lag(partition)).set(lag as f64);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the lag is not known"),
            // The consumer is closed.
            Ok(Ok(None)) => return part.done(),
            Err(_) => return,
        }
    }
}

/// Messages between the first that is not acknowledged and the end, by partition. Blocks.
fn measure(membership: &Membership, shared: &Shared) -> KafkaResult<HashMap<i32, i64>> {
    let assigned = membership.assignment()?;
    if assigned.count() == 0 {
        return Ok(HashMap::new());
    }
    // The ends come first: what arrives meanwhile must not make the lag negative.
    let ends = offsets(&ask(membership, &assigned, Offset::End)?);
    let mut begins = shared.state().intake.unacknowledged();
    if ends.keys().any(|partition| !begins.contains_key(partition)) {
        let positions = offsets(&membership.position()?);
        for (partition, at) in positions {
            begins.entry(partition).or_insert(at);
        }
    }
    // Nothing was received since the partitions were assigned.
    if ends.keys().any(|partition| !begins.contains_key(partition)) {
        let committed = offsets(&membership.committed_offsets(assigned.clone(), PATIENCE)?);
        let never = offsets(&ask(membership, &assigned, Offset::Beginning)?);
        for (partition, at) in committed.into_iter().chain(never) {
            begins.entry(partition).or_insert(at);
        }
    }
    let lag =
        |(partition, end): (i32, i64)| Some((partition, (end - begins.get(&partition)?).max(0)));
    Ok(ends.into_iter().filter_map(lag).collect())
}

/// The offsets of a place in all partitions, with one request to each leader.
fn ask(
    membership: &Membership,
    partitions: &TopicPartitionList,
    place: Offset,
) -> Result<TopicPartitionList, KafkaError> {
    let mut asked = partitions.clone();
    asked.set_all_offsets(place)?;
    membership.offsets_for_times(asked, PATIENCE)
}

fn offsets(partitions: &TopicPartitionList) -> HashMap<i32, i64> {
    let known = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
        .offset()
    {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    };
    partitions.elements().into_iter().filter_map(known).collect()
}
