//! The transactional producer: what is sent between `begin` and `commit` is seen whole or not at all.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, Producer as _, ProducerContext},
    util::Timeout,
};
use stream_inference::transport::Outbound;

use crate::{
    KafkaConfig, KafkaSetupError,
    connect::log::{REPORT_INTERVAL, logged},
    place::places,
    settle::refusal::is_refusal,
    shared::Shared,
    wire,
};

/// The coordinator is asked again while it is away, for this long at most.
const COORDINATOR_WAIT: Duration = Duration::from_secs(120);
const CALL_TIMEOUT: Timeout = Timeout::After(Duration::from_secs(10));
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// How long other reports are waited for after one that failed.
const LAST_REPORTS: Duration = Duration::from_secs(1);

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("this consumer has no place in its group for now")]
    NotAMember,
    #[error("an abort was asked for")]
    Injected,
    #[error("the broker aborted the transaction")]
    Aborted(#[source] KafkaError),
    #[error("Kafka refused a message for good")]
    Refused(#[source] KafkaError),
    #[error("the transactional producer failed; another process may have its group_instance_id")]
    Fatal(#[source] KafkaError),
}

impl Failure {
    /// Whether another transaction may commit what this one did not.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::NotAMember | Self::Aborted(_))
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match &error {
            KafkaError::Transaction(cause) if cause.is_fatal() => Self::Fatal(error),
            _ if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => Self::Fatal(error),
            _ if is_refusal(&error) => Self::Refused(error),
            _ => Self::Aborted(error),
        }
    }
}

/// A producer for one transaction at a time. Every call blocks.
pub(crate) struct Producer(BaseProducer<Reports>);

impl Producer {
    /// Ends what an earlier process with the same transactional id left open, and shuts that out.
    pub(crate) fn connect(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let producer: BaseProducer<Reports> = config
            .transactional_producer()?
            .create_with_context(Reports::default())
            .map_err(KafkaSetupError::Configuration)?;
        let servers = config.bootstrap_servers.clone();
        producer
            .init_transactions(COORDINATOR_WAIT)
            .map_err(|source| KafkaSetupError::Transactions { servers, source })?;
        Ok(Self(producer))
    }

    pub(crate) fn begin(&self) -> Result<(), Failure> {
        Ok(self.0.begin_transaction()?)
    }

    /// Hands a message to the client; a full queue is backpressure, not a failure.
    pub(crate) fn send(
        &self,
        topic: &str,
        message: &Outbound,
        number: usize,
        shared: &Shared,
    ) -> Result<(), KafkaError> {
        let mut waits = false;
        loop {
            match self.0.send(wire::numbered_record(topic, message, number)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    if !std::mem::replace(&mut waits, true) {
                        shared.queue_full();
                    }
                    self.0.poll(POLL_INTERVAL);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits for the reports of everything sent; once one has failed, only a moment longer: the
    /// client sends no more in a failed transaction, and would keep the rest until its time is up.
    ///
    /// The client's own `flush`, and so `commit_transaction` with messages in flight, sleeps in
    /// slices of 100 ms.
    pub(crate) fn wait(&self) {
        let mut failed: Option<Instant> = None;
        while self.0.in_flight_count() > 0 {
            self.0.poll(POLL_INTERVAL);
            if !self.0.context().failures().is_empty()
                && failed.get_or_insert_with(Instant::now).elapsed() > LAST_REPORTS
            {
                return;
            }
        }
    }

    /// Waits for the reports; returns those of what was not delivered.
    pub(crate) fn failures(&self) -> Vec<Undelivered> {
        self.wait();
        std::mem::take(&mut *self.0.context().failures())
    }

    /// Commits what was sent, with the next offset to read of each partition of `topic`.
    pub(crate) fn commit(
        &self,
        topic: &str,
        offsets: BTreeMap<i32, i64>,
        member: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let positions = places(topic, offsets)?;
        persist(|| self.0.send_offsets_to_transaction(&positions, member, CALL_TIMEOUT))?;
        stream_inference::fail_point!(BeforeCommit);
        persist(|| self.0.commit_transaction(CALL_TIMEOUT))
    }

    /// Takes back what was sent.
    pub(crate) fn abort(&self) -> Result<(), Failure> {
        let aborted = persist(|| self.0.abort_transaction(CALL_TIMEOUT));
        // Those of what was purged are no news.
        self.failures();
        aborted.map_err(|failure| match failure {
            // Without an end to this transaction there is no next one.
            Failure::Aborted(error) | Failure::Refused(error) => Failure::Fatal(error),
            other => other,
        })
    }
}

/// Repeats a call while the client says that this is all it needs.
fn persist(call: impl Fn() -> Result<(), KafkaError>) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut told = begun;
    loop {
        match call() {
            Err(KafkaError::Transaction(cause))
                if cause.is_retriable() && begun.elapsed() < COORDINATOR_WAIT =>
            {
                if told.elapsed() >= REPORT_INTERVAL {
                    told = Instant::now();
                    tracing::warn!(%cause, "Kafka does not end a transaction; it is asked again");
                }
            }
            // How a commit ended that was not answered, nobody knows: neither repeat nor go on.
            Err(error @ KafkaError::Transaction(_)) if begun.elapsed() >= COORDINATOR_WAIT => {
                return Err(Failure::Fatal(error));
            }
            done => return Ok(done?),
        }
    }
}

/// A failed delivery report.
pub(crate) struct Undelivered {
    /// That of [`Producer::send`].
    pub(crate) number: usize,
    pub(crate) topic: String,
    pub(crate) error: KafkaError,
}

/// Collects failed delivery reports.
#[derive(Default)]
pub(crate) struct Reports(Mutex<Vec<Undelivered>>);

impl Reports {
    fn failures(&self) -> MutexGuard<'_, Vec<Undelivered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

logged!(Reports);

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, message)) = result {
            let (topic, error) = (message.topic().to_owned(), error.clone());
            self.failures().push(Undelivered { number, topic, error });
        }
    }
}
