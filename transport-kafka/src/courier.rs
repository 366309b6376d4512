//! At least once: carries out verdicts in call order and stores offsets as reports come in.

use std::{
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fmnist_core::transport::{
    Delivery, Outbound, Outcome, Rejection, Settlement, TransportError, dead_letter,
    dead_letter_stub,
};
use rdkafka::{
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer},
};

use crate::{
    KafkaConfig, KafkaSetupError, KafkaToken,
    config::PUBLISH_TIMEOUT_MS,
    lanes::{Claim, Standing},
    log::Logged,
    membership::Membership,
    outbox::Outbox,
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
    kind: Kind,
    reports: Vec<Result<DeliveryFuture, KafkaError>>,
}

enum Kind {
    Recorded,
    Results,
    /// With what its stub is made of, should the letter be too large.
    DeadLetter(Box<(Delivery<KafkaToken>, Rejection)>),
}

impl Courier {
    /// Carries out verdicts in call order until the outbox is closed.
    pub(crate) async fn run(self, outbox: Arc<Outbox>) {
        while let Some((verdicts, reply)) = outbox.pop().await {
            let begun = Instant::now();
            let mut settlement = Settlement::default();
            let mut sent = Vec::with_capacity(verdicts.len());
            for (delivery, outcome) in verdicts {
                sent.extend(self.send(delivery, outcome, &mut settlement).await);
            }
            let courier = self.clone();
            tokio::spawn(async move {
                let result = courier.confirm(sent, settlement, begun).await;
                courier.shared.settled(reply, result);
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
        let (kind, topic, messages) = match outcome {
            Outcome::Retry => {
                self.shared.pull_back(claim);
                settlement.retried += 1;
                return None;
            }
            Outcome::Recorded => (Kind::Recorded, None, Vec::new()),
            Outcome::Publish(messages) => (Kind::Results, self.results_topic.clone(), messages),
            Outcome::Reject(rejection) => {
                let letter = dead_letter(&delivery, &rejection);
                let topic = Some(Arc::clone(&self.dead_letter_topic));
                (Kind::DeadLetter(Box::new((delivery, rejection))), topic, vec![letter])
            }
        };
        let mut reports = Vec::with_capacity(messages.len());
        for message in &messages {
            reports.push(match &topic {
                Some(topic) => self.enqueue(topic, message).await,
                None => Err(KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic)),
            });
        }
        Some(Sent { claim, kind, reports })
    }

    /// Hands a message to the client; a full queue is backpressure, not a failure.
    async fn enqueue(&self, topic: &str, message: &Outbound) -> Result<DeliveryFuture, KafkaError> {
        let mut waits = false;
        loop {
            match self.producer.send_result(wire::record(topic, message)) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
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
        for Sent { claim, kind, reports } in sent {
            let mut confirmed = confirmation(reports).await;
            if let (Err(error), Kind::DeadLetter(letter)) = (&confirmed, &kind)
                && is_too_large(error)
            {
                confirmed = self.send_alone(&letter.0, &letter.1).await;
            }
            match confirmed {
                Ok(()) => {
                    fmnist_core::fail_point!(AfterPublish);
                    self.acknowledge(claim, &kind, &mut settlement);
                }
                Err(error) => {
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
                self.shared.fail(format!("{context}: {error}"));
                Err(TransportError::Fatal { context, source: Some(error.into()) })
            }
        }
    }

    /// A broker refuses a whole batch for one large letter: sent again by itself, it goes as a stub
    /// only if it is the one.
    async fn send_alone(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: &Rejection,
    ) -> Result<(), KafkaError> {
        let topic = &self.dead_letter_topic;
        let letter = dead_letter(delivery, rejection);
        match confirmation(vec![self.enqueue(topic, &letter).await]).await {
            Err(error) if is_too_large(&error) => {
                let stub = dead_letter_stub(delivery, rejection);
                confirmation(vec![self.enqueue(topic, &stub).await]).await
            }
            confirmed => confirmed,
        }
    }

    /// Commits what is stored; the next commit makes up for one that fails.
    async fn commit(&self) {
        let membership = Arc::clone(&self.membership);
        let commit = move || membership.commit_consumer_state(CommitMode::Sync);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(commit).await {
            tracing::debug!(%error, "offsets not committed after a batch");
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
            (Standing::Valid, Kind::DeadLetter(_)) => settlement.rejected += 1,
        }
    }
}

/// Waits for every delivery report; the first failure decides.
async fn confirmation(reports: Vec<Result<DeliveryFuture, KafkaError>>) -> Result<(), KafkaError> {
    let mut failure = None;
    for report in reports {
        let outcome = match report {
            Ok(report) => match report.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((error, _))) => Err(error),
                Err(_) => Err(KafkaError::Canceled),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}
