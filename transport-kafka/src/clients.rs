//! One consumer and one producer, and how they end.

use std::{ops::Deref, thread};

use rdkafka::{
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::FutureProducer,
};
use tokio::sync::oneshot;

use crate::{KafkaConfig, KafkaSetupError, consumer::Context, log::Logged};

/// How long a result may wait for its confirmation before its message is delivered again.
const PUBLISH_TIMEOUT_MS: u32 = 30_000;

pub(crate) struct Pair {
    pub(crate) consumer: StreamConsumer<Context>,
    pub(crate) producer: FutureProducer<Logged>,
}

/// Both clients, shared by the tasks of one transport.
///
/// Closing blocks, with the broker away for long (rust-rdkafka #509): the last owner hands them to
/// a thread that neither a worker nor the end of the runtime waits for.
pub(crate) struct Clients {
    pair: Option<Pair>,
    closed: Option<oneshot::Sender<KafkaResult<()>>>,
}

impl Clients {
    /// Subscribes to the input topic. The receiver learns how the last commit went, once both
    /// clients are closed.
    pub(crate) fn connect(
        config: &KafkaConfig,
        context: Context,
    ) -> Result<(Self, oneshot::Receiver<KafkaResult<()>>), KafkaSetupError> {
        let producer = config
            .producer(PUBLISH_TIMEOUT_MS)?
            .create_with_context(Logged)
            .map_err(KafkaSetupError::Configuration)?;
        let consumer: StreamConsumer<Context> = config
            .consumer()?
            .create_with_context(context)
            .map_err(KafkaSetupError::Configuration)?;
        consumer.subscribe(&[&config.topic]).map_err(KafkaSetupError::Configuration)?;
        let (closed, when_closed) = oneshot::channel();
        let pair = Some(Pair { consumer, producer });
        Ok((Self { pair, closed: Some(closed) }, when_closed))
    }
}

impl Deref for Clients {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        self.pair.as_ref().expect("the clients are there until they are dropped")
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let (pair, closed) = (self.pair.take(), self.closed.take());
        thread::spawn(move || {
            let committed = pair.as_ref().map_or(Ok(()), |pair| commit(&pair.consumer));
            drop(pair);
            // Nobody waits where the transport was dropped rather than drained.
            if let Some(closed) = closed {
                let _ = closed.send(committed);
            }
        });
    }
}

fn commit(consumer: &StreamConsumer<Context>) -> KafkaResult<()> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Everything that was stored is committed already.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        committed => committed,
    }
}
