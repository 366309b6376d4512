//! The consumer as a member of its group, and how it leaves.

use std::{ops::Deref, thread};

use rdkafka::{
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::sync::oneshot;

use super::rebalance::Context;
use crate::{KafkaConfig, KafkaSetupError};

/// The consumer, shared by the tasks of one transport.
///
/// Closing blocks, with the broker away for long (rust-rdkafka #509): the last owner hands it to a
/// thread that neither a worker nor the end of the runtime waits for.
pub(crate) struct Membership {
    consumer: Option<StreamConsumer<Context>>,
    closed: Option<oneshot::Sender<KafkaResult<()>>>,
}

impl Membership {
    /// Subscribes to the input topic. The receiver learns how the last commit went, once the
    /// consumer is closed.
    pub(crate) fn join(
        config: &KafkaConfig,
        context: Context,
    ) -> Result<(Self, oneshot::Receiver<KafkaResult<()>>), KafkaSetupError> {
        let mut client = config.consumer()?;
        if context.0.state().intake.ends.is_some() {
            client.set("enable.partition.eof", "true");
        }
        let consumer: StreamConsumer<Context> =
            client.create_with_context(context).map_err(KafkaSetupError::Configuration)?;
        consumer.subscribe(&[&config.topic]).map_err(KafkaSetupError::Configuration)?;
        let (closed, when_closed) = oneshot::channel();
        Ok((Self { consumer: Some(consumer), closed: Some(closed) }, when_closed))
    }
}

impl Deref for Membership {
    type Target = StreamConsumer<Context>;

    fn deref(&self) -> &StreamConsumer<Context> {
        self.consumer.as_ref().expect("the consumer is there until it is dropped")
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let (consumer, closed) = (self.consumer.take(), self.closed.take());
        thread::spawn(move || {
            let committed = consumer.as_ref().map_or(Ok(()), commit);
            drop(consumer);
            // Nobody waits where the transport was dropped rather than drained.
            if let Some(closed) = closed {
                let _ = closed.send(committed);
            }
        });
    }
}

/// In transactions nothing is stored, so there is nothing to commit here.
fn commit(consumer: &StreamConsumer<Context>) -> KafkaResult<()> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Everything that was stored is committed already.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        committed => committed,
    }
}
