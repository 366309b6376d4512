//! Hands records to the client, and acknowledges what it confirmed.

use std::{ops::AddAssign, sync::Arc, time::Duration};

use rdkafka::{
    Message,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord},
};
use stream_inference::transport::{
    DeadLetterForm, Delivery, Fate, Outbound, Outcome, Rejection, Settlement,
};

use super::report::{Report, Unconfirmed, confirmation};
use crate::{
    claims::{Claim, Standing},
    connect::{leaving::Leaving, log::Logged},
    group::membership::Membership,
    settle::{outputs::Outputs, refusal::is_too_large},
    shared::Shared,
    token::KafkaToken,
    wire,
};

/// How long a full producer queue is given to drain before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// What became of some outcomes.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) settlement: Settlement,
    /// Why the transport can't go on.
    pub(super) refused: Option<KafkaError>,
}

impl Tally {
    /// Counts an outcome that does not count any more; returns whether it does.
    pub(super) fn counts(&mut self, standing: Standing) -> bool {
        match standing.fate() {
            Some(fate) => self.settlement.count(fate),
            None => return true,
        }
        false
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.settlement += other.settlement;
        self.refused = self.refused.take().or(other.refused);
    }
}

/// Everything that carrying out an outcome needs.
#[derive(Clone)]
pub(crate) struct Settler {
    pub(super) shared: Arc<Shared>,
    pub(super) membership: Arc<Membership>,
    /// Destroying it blocks.
    pub(super) producer: Arc<Leaving<FutureProducer<Logged>>>,
    pub(super) outputs: Arc<Outputs>,
    /// Offsets are committed after each batch, not on a timer.
    pub(super) commits_batches: bool,
}

/// An outcome on its way.
pub(super) struct Sent {
    pub(super) claim: Claim,
    /// What a dead letter is made of, should the results be too large, or the letter itself.
    pub(super) delivery: Delivery<KafkaToken>,
    pub(super) carried: Carried,
    pub(super) reports: Vec<Report>,
}

/// What an outcome's records are.
pub(super) enum Carried {
    /// None: it is acknowledged as it is.
    Nothing(Fate),
    Results,
    DeadLetter(Rejection, DeadLetterForm),
}

impl Carried {
    pub(super) const fn fate(&self) -> Fate {
        match self {
            Self::Nothing(fate) => *fate,
            Self::Results => Fate::Published,
            Self::DeadLetter(..) => Fate::Rejected,
        }
    }
}

impl Settler {
    /// Hands an outcome's records to the client, if it still counts.
    pub(super) async fn send(
        &self,
        claim: Claim,
        delivery: Delivery<KafkaToken>,
        outcome: Outcome,
        tally: &mut Tally,
    ) -> Option<Sent> {
        if !tally.counts(self.shared.state().intake.claims.standing(claim)) {
            return None;
        }
        let fate = outcome.fate();
        let (carried, reports) = match outcome {
            // Retries have been handed back before.
            Outcome::Retry | Outcome::Recorded | Outcome::Filtered => {
                (Carried::Nothing(fate), Vec::new())
            }
            Outcome::Publish(messages) => match self.enqueue_results(&messages).await {
                Ok(reports) => (Carried::Results, reports),
                Err(rejection) => self.enqueue_whole_letter(&delivery, rejection).await,
            },
            Outcome::Reject(rejection) => self.enqueue_whole_letter(&delivery, rejection).await,
        };
        Some(Sent { claim, delivery, carried, reports })
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

    /// Hands a dead letter to the client; [`Self::send_alone`] knows what to do with one that is too large.
    async fn enqueue_whole_letter(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: Rejection,
    ) -> (Carried, Vec<Report>) {
        let form = DeadLetterForm::Whole;
        let report = self.enqueue_letter(delivery, &rejection, form).await;
        (Carried::DeadLetter(rejection, form), vec![report])
    }

    async fn enqueue_letter(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: &Rejection,
        form: DeadLetterForm,
    ) -> Report {
        let letter = form.letter(delivery, rejection);
        self.enqueue(wire::record(&self.outputs.dead_letters, &letter)).await
    }

    /// Hands a record to the client; a full queue is backpressure, not a failure.
    pub(super) async fn enqueue(&self, mut record: FutureRecord<'_, [u8], [u8]>) -> Report {
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

    /// A broker refuses a whole batch for one message that is too large: sent again by itself, it
    /// ends as something smaller only if it is the one.
    pub(super) async fn send_alone(
        &self,
        delivery: &Delivery<KafkaToken>,
        carried: &mut Carried,
        large: Vec<OwnedMessage>,
    ) -> Result<(), Box<Unconfirmed>> {
        if let Carried::Results = carried {
            let mut large = large.into_iter();
            while let Some(message) = large.next() {
                let bytes =
                    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                match confirmation(vec![self.enqueue(wire::again(&message)).await]).await {
                    Ok(()) => {}
                    Err(unconfirmed) if is_too_large(&unconfirmed.error) => {
                        let rejection = Rejection::unpublishable(bytes);
                        *carried = Carried::DeadLetter(rejection, DeadLetterForm::Whole);
                        break;
                    }
                    Err(mut unconfirmed) => {
                        unconfirmed.records.extend(large);
                        return Err(unconfirmed);
                    }
                }
            }
        }
        let Carried::DeadLetter(rejection, form) = carried else { return Ok(()) };
        loop {
            let report = self.enqueue_letter(delivery, rejection, *form).await;
            match (confirmation(vec![report]).await, form.smaller()) {
                (Err(unconfirmed), Some(smaller)) if is_too_large(&unconfirmed.error) => {
                    *form = smaller;
                }
                (confirmed, _) => return confirmed,
            }
        }
    }

    /// Takes note that everything of some messages of one partition is confirmed, and stores how far that may
    /// be committed.
    pub(super) fn acknowledge(&self, done: &mut Vec<(Claim, Fate)>, settlement: &mut Settlement) {
        let Some(&(Claim { partition, .. }, _)) = done.first() else { return };
        // Stored under the lock: of two confirmations at once, the later mark must be stored last,
        // and before a revocation of the partition goes on.
        let mut state = self.shared.state();
        let mut mark = None;
        for (claim, fate) in done.drain(..) {
            let standing = state.intake.claims.standing(claim);
            mark = state.intake.done(claim).or(mark);
            settlement.count(standing.fate().unwrap_or(fate));
        }
        if let Some(offset) = mark {
            let stored = self.membership.store_offset(&self.shared.topic, partition, offset);
            if let Err(error) = stored {
                // The partition was revoked a moment ago: its next owner delivers again.
                tracing::debug!(%error, partition, offset, "offset not stored");
            }
        }
        drop(state);
        self.shared.progressed();
    }
}
