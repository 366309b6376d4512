//! The consumer as a member of its group, and how it leaves.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::sync::oneshot;

use super::{is_refused_by_group, rebalance::Context};
use crate::{KafkaConfig, KafkaSetupError, connect::leaving::Leaving};

/// How long the last commit is repeated while the group rebalances, which takes a second or two.
const REBALANCE_WAIT: Duration = Duration::from_secs(5);
const REPEATED_EVERY: Duration = Duration::from_millis(100);

/// The consumer, shared by the tasks of one transport. Closing it blocks (rust-rdkafka #509).
pub(crate) type Membership = Leaving<StreamConsumer<Context>>;

/// Subscribes to the input topic. The receiver learns how the last commit went, once the consumer is
/// closed.
pub(crate) fn join(
    config: &KafkaConfig,
    context: Context,
) -> Result<(Membership, oneshot::Receiver<KafkaResult<()>>), KafkaSetupError> {
    let mut client = config.consumer()?;
    if context.0.state().intake.ends.is_some() {
        client.set("enable.partition.eof", "true");
    }
    let consumer: StreamConsumer<Context> =
        client.create_with_context(context).map_err(KafkaSetupError::Configuration)?;
    consumer.subscribe(&[&config.topic]).map_err(KafkaSetupError::Configuration)?;
    let (closed, when_closed) = oneshot::channel();
    let membership = Leaving::new(consumer, |consumer| {
        let committed = commit(&consumer);
        drop(consumer);
        // Nobody waits where the transport was dropped rather than drained.
        let _ = closed.send(committed);
    });
    Ok((membership, when_closed))
}

/// In transactions nothing is stored, so there is nothing to commit here.
///
/// A rebalance refuses the commit until it has ended. If it ended without this member, the partitions have
/// another owner, who answers again what was not committed: at least once, and no failure of this consumer.
fn commit(consumer: &StreamConsumer<Context>) -> KafkaResult<()> {
    use RDKafkaErrorCode as Code;
    let deadline = Instant::now() + REBALANCE_WAIT;
    loop {
        match consumer.commit_consumer_state(CommitMode::Sync) {
            // Everything that was stored is committed already.
            Err(KafkaError::ConsumerCommit(Code::NoOffset)) => return Ok(()),
            Err(KafkaError::ConsumerCommit(Code::RebalanceInProgress | Code::StaleMemberEpoch))
                if Instant::now() < deadline =>
            {
                thread::sleep(REPEATED_EVERY);
            }
            Err(error) if is_refused_by_group(&error) => {
                tracing::warn!(%error, "the last offsets were not committed; messages may be answered twice");
                return Ok(());
            }
            committed => return committed,
        }
    }
}
