//! At least once: carries out verdicts in call order and stores offsets as reports come in.

pub(crate) mod share;

use std::{
    collections::HashMap,
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rdkafka::{
    Message,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedMessage,
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use stream_inference::{
    Part,
    transport::{
        DeadLetterForm, Delivery, Outbound, Outcome, Rejection, Settlement, TransportError,
    },
};
use tokio::sync::oneshot;

use crate::{
    KafkaConfig, KafkaSetupError, KafkaToken,
    claims::{Claim, Standing},
    connect::PUBLISH_TIMEOUT_MS,
    connect::log::Logged,
    group::membership::Membership,
    settle::at_least_once::share::{Share, Tally},
    settle::outbox::Closing,
    settle::outputs::Outputs,
    settle::refusal::{is_refusal, is_too_large},
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
    pub(crate) outputs: Arc<Outputs>,
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
pub(crate) struct Sent {
    pub(crate) claim: Claim,
    /// What a dead letter is made of, should the results be too large, or the letter itself.
    pub(crate) delivery: Delivery<KafkaToken>,
    pub(crate) kind: Kind,
    pub(crate) reports: Vec<Report>,
}

/// What the client will tell of a record, or why it did not take it.
pub(crate) type Report = Result<DeliveryFuture, Box<Unconfirmed>>;

pub(crate) enum Kind {
    Recorded,
    Filtered,
    Results,
    DeadLetter(Rejection, DeadLetterForm),
}

/// What the broker did not confirm: the reason that decides, and all records that came back.
pub(crate) struct Unconfirmed {
    pub(crate) error: KafkaError,
    pub(crate) records: Vec<OwnedMessage>,
}

impl Unconfirmed {
    /// A refusal decides over what may pass, and that over what may pass as something smaller.
    fn add(&mut self, other: Self) {
        let rank = |error: &KafkaError| match (is_too_large(error), is_refusal(error)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        if rank(&other.error) > rank(&self.error) {
            self.error = other.error;
        }
        self.records.extend(other.records);
    }
}

impl Courier {
    /// Carries out verdicts in call order until the outbox is closed.
    pub(crate) async fn run(self, outbox: Closing, _part: Part) {
        // The end of each partition's last share.
        let mut turns: HashMap<i32, oneshot::Receiver<()>> = HashMap::new();
        while let Some((verdicts, reply)) = outbox.pop().await {
            let begun = Instant::now();
            let mut tally = Tally::default();
            let mut shares = HashMap::new();
            for (mut delivery, outcome) in verdicts {
                let Some(claim) = delivery.token.take() else { continue };
                if let Outcome::Retry = outcome {
                    self.retry(claim, &mut tally);
                    continue;
                }
                let share = shares.entry(claim.partition).or_insert_with(|| {
                    let (ended, turn) = oneshot::channel();
                    Share::new(turns.insert(claim.partition, turn), ended)
                });
                if share.hold.is_none() {
                    share.hold = self.shared.hold_again(claim.partition);
                }
                match share.hold.is_some() {
                    true => share.waiting.push((claim, delivery, outcome)),
                    false => {
                        share.sent.extend(self.send(claim, delivery, outcome, &mut tally).await)
                    }
                }
            }
            let courier = self.clone();
            let shares: Vec<Share> = shares.into_values().collect();
            let part = self.shared.supervisor.part("task that awaits confirmations");
            tokio::spawn(async move {
                reply.send(courier.carry_out(shares, tally, begun).await);
                part.done();
            });
        }
    }

    /// Hands a message back that is to be delivered again, whatever its lane waits for.
    fn retry(&self, claim: Claim, tally: &mut Tally) {
        let standing = self.shared.state().claims.standing(claim);
        self.shared.retry(claim);
        match standing {
            Standing::Stale => tally.settlement.stale += 1,
            Standing::Valid | Standing::PulledBack => tally.settlement.retried += 1,
        }
    }

    /// Hands a verdict's records to the client, if it still counts.
    pub(crate) async fn send(
        &self,
        claim: Claim,
        delivery: Delivery<KafkaToken>,
        outcome: Outcome,
        tally: &mut Tally,
    ) -> Option<Sent> {
        if !tally.counts(self.shared.state().claims.standing(claim)) {
            return None;
        }
        let (kind, reports) = match outcome {
            Outcome::Retry | Outcome::Recorded => (Kind::Recorded, Vec::new()),
            Outcome::Filtered => (Kind::Filtered, Vec::new()),
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
            let report = match self.outputs.of(message) {
                Ok(topic) => self.enqueue(wire::record(topic, message)).await,
                Err(error) => Err(Box::new(Unconfirmed { error, records: Vec::new() })),
            };
            match report {
                Err(unconfirmed) if is_too_large(&unconfirmed.error) => {
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
            let report = self.enqueue(wire::record(&self.outputs.dead_letters, &letter)).await;
            match (report, form.smaller()) {
                (Err(unconfirmed), Some(smaller)) if is_too_large(&unconfirmed.error) => {
                    *form = smaller;
                }
                (report, _) => return report,
            }
        }
    }

    /// Hands records to the client that it gave back.
    pub(crate) async fn enqueue_again(&self, records: &[OwnedMessage]) -> Vec<Report> {
        let mut reports = Vec::with_capacity(records.len());
        for record in records {
            reports.push(self.enqueue(wire::again(record)).await);
        }
        reports
    }

    /// Hands a record to the client; a full queue is backpressure, not a failure.
    async fn enqueue(&self, mut record: FutureRecord<'_, [u8], [u8]>) -> Report {
        let mut waits = false;
        loop {
            match self.producer.send_result(record) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    if !std::mem::replace(&mut waits, true) {
                        self.shared.queue_full();
                    }
                    tokio::time::sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, record)) => {
                    let records = vec![wire::owned(&record)];
                    return Err(Box::new(Unconfirmed { error, records }));
                }
            }
        }
    }

    /// Carries out a batch's shares, each in order and none behind another.
    async fn carry_out(
        self,
        shares: Vec<Share>,
        mut tally: Tally,
        begun: Instant,
    ) -> Result<Settlement, TransportError> {
        let publishes = shares.iter().any(Share::publishes);
        let mut running: FuturesUnordered<_> =
            shares.into_iter().map(|share| share.carry_out(&self)).collect();
        while let Some(carried_out) = running.next().await {
            tally += carried_out;
            if tally.refused.is_some() {
                // The transport stops: nobody waits for a lane that is held.
                break;
            }
            // What is confirmed is not to wait for a partition that takes nothing.
            if self.commits_batches && !running.is_empty() && self.shared.is_holding() {
                self.commit().await;
            }
        }
        drop(running);
        if publishes {
            self.shared.meters.published(begun.elapsed());
        }
        stream_inference::fail_point!(BeforeCommit);
        if self.commits_batches {
            self.commit().await;
            stream_inference::fail_point!(AfterCommit);
        }
        let Tally { settlement, refused } = tally;
        match refused {
            None => Ok(settlement),
            Some(error) => {
                let context = format!("Kafka refused an answer to {} for good", self.shared.topic);
                self.shared.supervisor.fail(format!("{context}: {error}"));
                Err(TransportError::Fatal { context, source: Some(error.into()) })
            }
        }
    }

    /// A broker refuses a whole batch for one message that is too large: sent again by itself, it
    /// ends as something smaller only if it is the one.
    pub(crate) async fn send_alone(
        &self,
        delivery: &Delivery<KafkaToken>,
        kind: &mut Kind,
        large: Vec<OwnedMessage>,
    ) -> Result<(), Box<Unconfirmed>> {
        if let Kind::Results = kind {
            let mut large = large.into_iter();
            while let Some(message) = large.next() {
                let bytes =
                    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                match confirmation(vec![self.enqueue(wire::again(&message)).await]).await {
                    Ok(()) => {}
                    Err(unconfirmed) if is_too_large(&unconfirmed.error) => {
                        let rejection = Rejection::unpublishable(bytes);
                        *kind = Kind::DeadLetter(rejection, DeadLetterForm::Whole);
                        break;
                    }
                    Err(mut unconfirmed) => {
                        unconfirmed.records.extend(large);
                        return Err(unconfirmed);
                    }
                }
            }
        }
        let Kind::DeadLetter(rejection, form) = kind else { return Ok(()) };
        loop {
            let report = self.enqueue_form(delivery, rejection, form).await;
            match (confirmation(vec![report]).await, form.smaller()) {
                (Err(unconfirmed), Some(smaller)) if is_too_large(&unconfirmed.error) => {
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

    pub(crate) fn acknowledge(&self, claim: Claim, kind: &Kind, settlement: &mut Settlement) {
        // Stored under the lock: of two confirmations at once, the later mark must be stored last,
        // and before a revocation of the partition goes on.
        let mut state = self.shared.state();
        let standing = state.claims.standing(claim);
        if let Some(offset) = state.done(claim) {
            let stored = self.membership.store_offset(&self.shared.topic, claim.partition, offset);
            if let Err(error) = stored {
                // The partition was revoked a moment ago: its next owner delivers again.
                tracing::debug!(%error, ?claim, "offset not stored");
            }
        }
        drop(state);
        self.shared.progressed();
        match (standing, kind) {
            (Standing::Stale, _) => settlement.stale += 1,
            (Standing::PulledBack, _) => settlement.retried += 1,
            (Standing::Valid, Kind::Recorded) => settlement.recorded += 1,
            (Standing::Valid, Kind::Filtered) => settlement.filtered += 1,
            (Standing::Valid, Kind::Results) => settlement.published += 1,
            (Standing::Valid, Kind::DeadLetter(..)) => settlement.rejected += 1,
        }
    }
}

/// Waits for every delivery report.
pub(crate) async fn confirmation(reports: Vec<Report>) -> Result<(), Box<Unconfirmed>> {
    let mut failure: Option<Box<Unconfirmed>> = None;
    for report in reports {
        let unconfirmed = match report {
            Ok(report) => match report.await {
                Ok(Ok(_)) => continue,
                Ok(Err((error, record))) => Box::new(Unconfirmed { error, records: vec![record] }),
                Err(_) => {
                    Box::new(Unconfirmed { error: KafkaError::Canceled, records: Vec::new() })
                }
            },
            Err(unconfirmed) => unconfirmed,
        };
        match &mut failure {
            None => failure = Some(unconfirmed),
            Some(failure) => failure.add(*unconfirmed),
        }
    }
    failure.map_or(Ok(()), Err)
}
