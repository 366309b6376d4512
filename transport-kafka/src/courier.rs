//! At least once: carries out verdicts in call order and stores offsets as reports come in.

use std::{
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fmnist_core::{
    Part,
    transport::{
        DeadLetterForm, Delivery, Outbound, Outcome, Rejection, Settlement, TransportError,
    },
};
use rdkafka::{
    Message,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedMessage,
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};

use crate::{
    KafkaConfig, KafkaSetupError, KafkaToken,
    config::PUBLISH_TIMEOUT_MS,
    lanes::{Claim, Standing},
    log::Logged,
    membership::Membership,
    outbox::Closing,
    refusal::{is_refusal, is_too_large},
    shared::Shared,
    wire,
};

/// How long a full producer queue is given to drain before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// Everything that carrying out a verdict needs.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) producer: Arc<Confirming>,
    pub(crate) results_topic: Option<Arc<str>>,
    pub(crate) dead_letter_topic: Arc<str>,
    /// Offsets are committed after each batch, not on a timer.
    pub(crate) commits_batches: bool,
}

/// The producer. Destroying it blocks, so the last owner leaves that to a thread.
pub(crate) struct Confirming(Option<FutureProducer<Logged>>);

impl Confirming {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let producer = config
            .producer(PUBLISH_TIMEOUT_MS)?
            .create_with_context(Logged)
            .map_err(KafkaSetupError::Configuration)?;
        Ok(Self(Some(producer)))
    }
}

impl Deref for Confirming {
    type Target = FutureProducer<Logged>;

    fn deref(&self) -> &FutureProducer<Logged> {
        self.0.as_ref().expect("the producer is there until it is dropped")
    }
}

impl Drop for Confirming {
    fn drop(&mut self) {
        let producer = self.0.take();
        thread::spawn(move || drop(producer));
    }
}

/// A verdict on its way.
struct Sent {
    claim: Claim,
    /// What a dead letter is made of, should the results be too large, or the letter itself.
    delivery: Delivery<KafkaToken>,
    kind: Kind,
    reports: Vec<Report>,
}

type Report = Result<DeliveryFuture, KafkaError>;

enum Kind {
    Recorded,
    Results,
    DeadLetter(Rejection, DeadLetterForm),
}

/// A verdict that the broker did not confirm: the first reason, and what came back as too large.
struct Unconfirmed {
    error: KafkaError,
    large: Vec<OwnedMessage>,
}

impl Courier {
    /// Carries out verdicts in call order until the outbox is closed.
    pub(crate) async fn run(self, outbox: Closing, _part: Part) {
        while let Some((verdicts, reply)) = outbox.pop().await {
            let begun = Instant::now();
            let mut settlement = Settlement::default();
            let mut sent = Vec::with_capacity(verdicts.len());
            for (delivery, outcome) in verdicts {
                sent.extend(self.send(delivery, outcome, &mut settlement).await);
            }
            let courier = self.clone();
            let part = self.shared.supervisor.part("task that awaits confirmations");
            tokio::spawn(async move {
                reply.send(courier.confirm(sent, settlement, begun).await);
                part.done();
            });
        }
    }

    async fn send(
        &self,
        mut delivery: Delivery<KafkaToken>,
        outcome: Outcome,
        settlement: &mut Settlement,
    ) -> Option<Sent> {
        let claim = delivery.token.take()?;
        match self.shared.state().lanes.standing(claim) {
            Standing::Valid => {}
            Standing::PulledBack => {
                settlement.retried += 1;
                return None;
            }
            Standing::Stale => {
                settlement.stale += 1;
                return None;
            }
        }
        let (kind, reports) = match outcome {
            Outcome::Retry => {
                self.shared.pull_back(claim);
                settlement.retried += 1;
                return None;
            }
            Outcome::Recorded => (Kind::Recorded, Vec::new()),
            Outcome::Publish(messages) => match self.enqueue_results(&messages).await {
                Ok(reports) => (Kind::Results, reports),
                Err(rejection) => self.enqueue_letter(&delivery, rejection).await,
            },
            Outcome::Reject(rejection) => self.enqueue_letter(&delivery, rejection).await,
        };
        Some(Sent { claim, delivery, kind, reports })
    }

    /// Hands results to the client; a rejection where it takes none so large.
    async fn enqueue_results(&self, messages: &[Outbound]) -> Result<Vec<Report>, Rejection> {
        let mut reports = Vec::with_capacity(messages.len());
        for message in messages {
            let report = match &self.results_topic {
                Some(topic) => self.enqueue(wire::record(topic, message)).await,
                None => Err(KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic)),
            };
            match report {
                Err(error) if is_too_large(&error) => {
                    return Err(Rejection::unpublishable(message.size_bytes()));
                }
                report => reports.push(report),
            }
        }
        Ok(reports)
    }

    /// Hands a dead letter to the client, in the first form that it takes.
    async fn enqueue_letter(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: Rejection,
    ) -> (Kind, Vec<Report>) {
        let mut form = DeadLetterForm::Whole;
        let report = self.enqueue_form(delivery, &rejection, &mut form).await;
        (Kind::DeadLetter(rejection, form), vec![report])
    }

    async fn enqueue_form(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: &Rejection,
        form: &mut DeadLetterForm,
    ) -> Report {
        loop {
            let letter = form.letter(delivery, rejection);
            let report = self.enqueue(wire::record(&self.dead_letter_topic, &letter)).await;
            match (report, form.smaller()) {
                (Err(error), Some(smaller)) if is_too_large(&error) => *form = smaller,
                (report, _) => return report,
            }
        }
    }

    /// Hands a message to the client; a full queue is backpressure, not a failure.
    async fn enqueue(&self, mut record: FutureRecord<'_, [u8], [u8]>) -> Report {
        let mut waits = false;
        loop {
            match self.producer.send_result(record) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    if !std::mem::replace(&mut waits, true) {
                        self.shared.queue_full();
                    }
                    tokio::time::sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    async fn confirm(
        &self,
        sent: Vec<Sent>,
        mut settlement: Settlement,
        begun: Instant,
    ) -> Result<Settlement, TransportError> {
        let publishes = sent.iter().any(|sent| !sent.reports.is_empty());
        let mut refused = None;
        for Sent { claim, delivery, mut kind, reports } in sent {
            let confirmed = match confirmation(reports).await {
                Err(Unconfirmed { error, large }) if is_too_large(&error) => {
                    self.send_alone(&delivery, &mut kind, large).await
                }
                confirmed => confirmed,
            };
            match confirmed {
                Ok(()) => {
                    fmnist_core::fail_point!(AfterPublish);
                    self.acknowledge(claim, &kind, &mut settlement);
                }
                Err(Unconfirmed { error, .. }) => {
                    tracing::warn!(%error, ?claim, "not confirmed; the message is delivered again");
                    self.shared.pull_back(claim);
                    settlement.retried += 1;
                    if is_refusal(&error) {
                        refused.get_or_insert(error);
                    }
                }
            }
        }
        if publishes {
            self.shared.meters.published(begun.elapsed());
        }
        fmnist_core::fail_point!(BeforeCommit);
        if self.commits_batches {
            self.commit().await;
            fmnist_core::fail_point!(AfterCommit);
        }
        match refused {
            None => Ok(settlement),
            Some(error) => {
                let context = format!("Kafka refused an answer to {} for good", self.shared.topic);
                self.shared.supervisor.fail(format!("{context}: {error}"));
                Err(TransportError::Fatal { context, source: Some(error.into()) })
            }
        }
    }

    /// A broker refuses a whole batch for one large message: sent again by itself, it ends as
    /// something smaller only if it is the one.
    async fn send_alone(
        &self,
        delivery: &Delivery<KafkaToken>,
        kind: &mut Kind,
        large: Vec<OwnedMessage>,
    ) -> Result<(), Unconfirmed> {
        if let Kind::Results = kind {
            for message in large {
                let bytes =
                    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                match confirmation(vec![self.enqueue(wire::again(&message)).await]).await {
                    Err(Unconfirmed { error, .. }) if is_too_large(&error) => {
                        let rejection = Rejection::unpublishable(bytes);
                        *kind = Kind::DeadLetter(rejection, DeadLetterForm::Whole);
                        break;
                    }
                    confirmed => confirmed?,
                }
            }
        }
        let Kind::DeadLetter(rejection, form) = kind else { return Ok(()) };
        loop {
            let report = self.enqueue_form(delivery, rejection, form).await;
            match (confirmation(vec![report]).await, form.smaller()) {
                (Err(Unconfirmed { error, .. }), Some(smaller)) if is_too_large(&error) => {
                    *form = smaller;
                }
                (confirmed, _) => return confirmed,
            }
        }
    }

    /// Commits what is stored; the next commit makes up for one that fails.
    async fn commit(&self) {
        let membership = Arc::clone(&self.membership);
        let commit = move || membership.commit_consumer_state(CommitMode::Sync);
        match tokio::task::spawn_blocking(commit).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "offsets not committed after a batch"),
            Err(_) => self.shared.supervisor.fail("the thread that commits offsets ended early"),
        }
    }

    fn acknowledge(&self, claim: Claim, kind: &Kind, settlement: &mut Settlement) {
        // Stored under the lock: of two confirmations at once, the later mark must be stored last,
        // and before a revocation of the partition goes on.
        let mut state = self.shared.state();
        let standing = state.lanes.standing(claim);
        if let Some(offset) = state.lanes.done(claim) {
            let stored = self.membership.store_offset(&self.shared.topic, claim.partition, offset);
            if let Err(error) = stored {
                // The partition was revoked a moment ago: its next owner delivers again.
                tracing::debug!(%error, ?claim, "offset not stored");
            }
        }
        drop(state);
        match (standing, kind) {
            (Standing::Stale, _) => settlement.stale += 1,
            (Standing::PulledBack, _) => settlement.retried += 1,
            (Standing::Valid, Kind::Recorded) => settlement.recorded += 1,
            (Standing::Valid, Kind::Results) => settlement.published += 1,
            (Standing::Valid, Kind::DeadLetter(..)) => settlement.rejected += 1,
        }
    }
}

/// Waits for every delivery report; the first failure that is not one of size decides.
async fn confirmation(reports: Vec<Report>) -> Result<(), Unconfirmed> {
    let (mut failure, mut too_large, mut large) = (None, None, Vec::new());
    for report in reports {
        let error = match report {
            Ok(report) => match report.await {
                Ok(Ok(_)) => continue,
                Ok(Err((error, message))) => {
                    if is_too_large(&error) {
                        large.push(message);
                    }
                    error
                }
                Err(_) => KafkaError::Canceled,
            },
            Err(error) => error,
        };
        let first = if is_too_large(&error) { &mut too_large } else { &mut failure };
        first.get_or_insert(error);
    }
    match failure.or(too_large) {
        Some(error) => Err(Unconfirmed { error, large }),
        None => Ok(()),
    }
}
