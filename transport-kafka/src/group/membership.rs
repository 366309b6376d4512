//! The consumer as a member of its group, and how it leaves.

use rdkafka::{
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::sync::oneshot;

use super::rebalance::Context;
use crate::{KafkaConfig, KafkaSetupError, connect::leaving::Leaving};

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
fn commit(consumer: &StreamConsumer<Context>) -> KafkaResult<()> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Everything that was stored is committed already.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        committed => committed,
    }
}
