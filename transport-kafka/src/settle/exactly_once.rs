//! Exactly once: carries out outcomes and commits offsets in transactions, on a thread of its own.
//!
//! A transaction costs 10–20 ms however small, so batches that were accepted while one was open are
//! merged into the next. What an aborted transaction held is sent again in the next one, after a
//! pause, as far as its claims still count.

mod producer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
};
use stream_inference::{
    Part,
    transport::{
        DeadLetterForm, Delivery, Fate, Outbound, Outcome, Rejection, Settlement, TransportError,
    },
};
use tokio::sync::mpsc;

use super::{
    outbox::{Batch, Outcomes},
    outputs::Outputs,
    refusal::is_too_large,
};
use crate::{claims::Claim, shared::Shared, token::KafkaToken};
pub(crate) use producer::Producer;
use producer::{Failure, Undelivered};

/// Messages of one transaction at most.
const MERGED_MESSAGES: usize = 10_000;
/// How long a transaction waits for the group to assign partitions before it gives up.
const MEMBER_WAIT: Duration = Duration::from_secs(10);
/// How long the next transaction waits after one that was aborted, the first time; then twice as
/// long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Everything that a transaction needs.
pub(crate) struct Settler {
    shared: Arc<Shared>,
    producer: Producer,
    outputs: Arc<Outputs>,
    /// What went out in a batch that the broker refused as too large, by partition and offset of the
    /// message that it answers.
    large: HashMap<(i32, i64), Large>,
    /// The topic that did not confirm a message of the last transaction.
    unconfirmed: Option<String>,
}

/// A broker refuses a whole batch for one large message, so each is tried by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Large {
    /// How many forms of the answer were refused by themselves: the results, where there were any,
    /// then the dead letter's forms.
    refused: usize,
    /// Whether the next form is to go by itself.
    is_suspected: bool,
}

/// A message whose end is to be in the next transaction.
struct Staged {
    batch: usize,
    claim: Claim,
    delivery: Delivery<KafkaToken>,
    outcome: Outcome,
}

impl Settler {
    pub(crate) fn new(producer: Producer, shared: Arc<Shared>, outputs: Arc<Outputs>) -> Self {
        Self { shared, producer, outputs, large: HashMap::new(), unconfirmed: None }
    }

    /// Carries out outcomes until the transport closes.
    pub(crate) fn run(mut self, mut outbox: mpsc::Receiver<Batch>, _part: Part) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| outbox.blocking_recv()) {
            if self.shared.is_closing() {
                break;
            }
            let merged;
            (merged, next) = merge(first, &mut outbox);
            let (outcomes, replies): (Vec<_>, Vec<_>) = merged.into_iter().unzip();
            let mut settlements = vec![Settlement::default(); outcomes.len()];
            let mut staged = claimed(outcomes);
            let mut pause = FIRST_PAUSE;
            let ended = loop {
                let member = self.stage(&mut staged, &mut settlements);
                let ended = self.carry_out(&mut staged, member.as_deref(), &mut settlements);
                self.shared.end();
                match ended {
                    Err(failure) if failure.may_pass() && self.holds(&failure, pause) => {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    ended => break ended,
                }
            };
            let mut failed = HashSet::new();
            if let Err(failure) = &ended {
                self.give_up(&staged, failure);
                failed.extend(staged.iter().map(|staged| staged.batch));
            }
            self.shared.resumed();
            for (batch, (reply, settlement)) in replies.into_iter().zip(settlements).enumerate() {
                let result = match &ended {
                    Err(failure) if failed.contains(&batch) => Err(self.error(failure)),
                    _ => Ok(settlement),
                };
                reply.send(result);
            }
        }
    }

    /// Keeps what an aborted transaction held, for a while; returns whether it is to be tried again.
    fn holds(&mut self, failure: &Failure, pause: Duration) -> bool {
        // What is too large is tried as something smaller.
        if !matches!(failure, Failure::Aborted(error) if is_too_large(error)) {
            let what = self.unconfirmed.take().unwrap_or_else(|| "broker".to_owned());
            self.shared.waits_for(what, failure);
        }
        self.shared.pause(pause)
    }

    /// Hands back what no transaction took.
    fn give_up(&self, staged: &[Staged], failure: &Failure) {
        tracing::warn!(
            messages = staged.len(),
            error = failure as &dyn std::error::Error,
            "transaction aborted; its messages are delivered again"
        );
        for staged in staged {
            self.shared.pull_back(staged.claim);
        }
        if let Failure::Fatal(cause) | Failure::Refused(cause) = failure {
            self.shared.supervisor.fail(format!("{}: {cause}", self.error(failure)));
        }
    }

    /// Leaves the outcomes that count, in call order; returns the member of the group that they count
    /// for.
    fn stage(
        &self,
        outcomes: &mut Vec<Staged>,
        settlements: &mut [Settlement],
    ) -> Option<Arc<ConsumerGroupMetadata>> {
        let mut state = self.shared.begin(MEMBER_WAIT);
        // Taken no later than the claims are looked at: should the partitions get another owner
        // from here on, the broker refuses the offsets.
        let member = state.group.member.clone();
        outcomes.retain(|Staged { batch, claim, outcome, .. }| {
            let standing = match outcome {
                Outcome::Retry => state.intake.claims.standing(*claim),
                _ => state.intake.claims.stage(*claim),
            };
            let fate = match (standing.fate(), outcome) {
                (Some(fate), _) => fate,
                (None, Outcome::Retry) => {
                    state.intake.claims.retry(*claim);
                    Fate::Retried
                }
                (None, _) => return true,
            };
            settlements[*batch].count(fate);
            false
        });
        drop(state);
        self.shared.handed_back();
        member
    }

    fn carry_out(
        &mut self,
        staged: &mut [Staged],
        member: Option<&ConsumerGroupMetadata>,
        settlements: &mut [Settlement],
    ) -> Result<(), Failure> {
        if staged.is_empty() {
            return Ok(());
        }
        self.transact(staged, member.ok_or(Failure::NotAMember)?)?;
        stream_inference::fail_point!(AfterCommit);
        self.acknowledge(staged, settlements);
        Ok(())
    }

    /// One transaction, committed or aborted.
    fn transact(
        &mut self,
        staged: &mut [Staged],
        member: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        self.producer.begin()?;
        let begun = Instant::now();
        let sent = self.send(staged);
        self.shared.meters.publish.record(begun.elapsed());
        let mut offsets = BTreeMap::new();
        for Staged { claim, .. } in &*staged {
            offsets.insert(claim.partition, claim.offset + 1);
        }
        let left = {
            let aborts = &mut self.shared.state().group.aborts;
            std::mem::replace(aborts, aborts.saturating_sub(1))
        };
        let committed = sent.and_then(|()| {
            stream_inference::fail_point!(AfterPublish);
            if left > 0 {
                return Err(Failure::Injected);
            }
            self.producer.commit(&self.shared.topic, offsets, member)
        });
        match committed {
            Err(failure @ Failure::Fatal(_)) => Err(failure),
            Err(failure) => {
                self.producer.abort()?;
                Err(failure)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sends every message of the transaction and waits for the reports.
    fn send(&mut self, staged: &mut [Staged]) -> Result<(), Failure> {
        let mut sending = staged.iter_mut().enumerate();
        let sent = sending.try_for_each(|(number, staged)| self.send_one(number, staged));
        let (mut first, mut large) = (None, BTreeSet::new());
        for Undelivered { number, topic, error } in self.producer.failures() {
            if is_too_large(&error) {
                large.insert(number);
                first.get_or_insert(Failure::Aborted(error));
                continue;
            }
            self.unconfirmed = Some(self.outputs.name(&topic));
            if !matches!(first, Some(Failure::Refused(_))) {
                // One that is refused decides over those that went with it.
                match Failure::from(error) {
                    failure @ Failure::Refused(_) => first = Some(failure),
                    failure => drop(first.get_or_insert(failure)),
                }
            }
        }
        // A transaction with a failed message can't commit: the next one knows better.
        for Claim { partition, offset, .. } in large.into_iter().map(|number| staged[number].claim)
        {
            let known = self.large.entry((partition, offset)).or_default();
            known.refused += usize::from(known.is_suspected);
            known.is_suspected = !known.is_suspected;
        }
        // After a failed report, the client refuses what comes next.
        first.map_or(sent, Err)
    }

    fn send_one(&self, number: usize, staged: &mut Staged) -> Result<(), Failure> {
        let claim = staged.claim;
        let known = self.large.get(&(claim.partition, claim.offset)).copied();
        let Large { mut refused, is_suspected } = known.unwrap_or_default();
        if is_suspected {
            self.producer.wait();
        }
        if let Outcome::Publish(messages) = &staged.outcome {
            let rejection = match refused {
                0 => self.send_results(messages, number, is_suspected)?,
                _ => messages.iter().map(Outbound::size_bytes).max().map(Rejection::unpublishable),
            };
            if let Some(rejection) = rejection {
                staged.outcome = Outcome::Reject(rejection);
                refused = refused.saturating_sub(1);
            }
        }
        if let Outcome::Reject(rejection) = &staged.outcome {
            self.send_dead_letter(&staged.delivery, rejection, number, refused)?;
            if is_suspected {
                self.producer.wait();
            }
        }
        Ok(())
    }

    /// Sends results, each by itself if they are suspected; a rejection where one is too large.
    fn send_results(
        &self,
        messages: &[Outbound],
        number: usize,
        are_suspected: bool,
    ) -> Result<Option<Rejection>, KafkaError> {
        for message in messages {
            match self.producer.send(self.outputs.of(message)?, message, number, &self.shared) {
                Err(error) if is_too_large(&error) => {
                    return Ok(Some(Rejection::unpublishable(message.size_bytes())));
                }
                sent => sent?,
            }
            if are_suspected {
                self.producer.wait();
            }
        }
        Ok(None)
    }

    /// Sends a dead letter in the first form that is not refused.
    fn send_dead_letter(
        &self,
        delivery: &Delivery<KafkaToken>,
        rejection: &Rejection,
        number: usize,
        refused: usize,
    ) -> Result<(), KafkaError> {
        let topic = &self.outputs.dead_letters;
        let forms = std::iter::successors(Some(DeadLetterForm::Whole), |form| form.smaller());
        let mut sent = Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge));
        for form in forms.skip(refused) {
            let letter = form.letter(delivery, rejection);
            sent = self.producer.send(topic, &letter, number, &self.shared);
            if !sent.as_ref().is_err_and(is_too_large) {
                break;
            }
        }
        sent
    }

    /// Moves the marks: what was committed is over, even if its partition was revoked meanwhile.
    fn acknowledge(&mut self, staged: &[Staged], settlements: &mut [Settlement]) {
        let mut state = self.shared.state();
        for Staged { batch, claim, outcome, .. } in staged {
            state.intake.done(*claim);
            self.large.remove(&(claim.partition, claim.offset));
            settlements[*batch].count(outcome.fate());
        }
        drop(state);
        self.shared.progressed();
    }

    fn error(&self, failure: &Failure) -> TransportError {
        let topic = &self.shared.topic;
        match failure {
            Failure::Refused(source) => TransportError::fatal(
                format!("Kafka refused an answer to {topic} for good"),
                Some(source.clone().into()),
            ),
            Failure::Fatal(source) => TransportError::fatal(
                format!("no more transactions for {topic}: {failure}"),
                Some(source.clone().into()),
            ),
            Failure::Aborted(source) => TransportError::Aborted {
                context: format!("the transaction of answers to {topic} was aborted"),
                source: Some(source.clone().into()),
            },
            Failure::NotAMember | Failure::Injected => TransportError::Aborted {
                context: format!("the transaction of answers to {topic} was aborted: {failure}"),
                source: None,
            },
        }
    }
}

/// A batch with those that wait behind it, as many as fit into a transaction; and the first that does not.
fn merge(first: Batch, outbox: &mut mpsc::Receiver<Batch>) -> (Vec<Batch>, Option<Batch>) {
    let mut messages = first.0.len();
    let mut merged = vec![first];
    while let Ok(next) = outbox.try_recv() {
        messages += next.0.len();
        if messages > MERGED_MESSAGES {
            return (merged, Some(next));
        }
        merged.push(next);
    }
    (merged, None)
}

/// The outcomes with their claims.
fn claimed(batches: Vec<Outcomes>) -> Vec<Staged> {
    let mut claimed = Vec::with_capacity(batches.iter().map(Vec::len).sum());
    for (batch, outcomes) in batches.into_iter().enumerate() {
        for (mut delivery, outcome) in outcomes {
            if let Some(claim) = delivery.token.take() {
                claimed.push(Staged { batch, claim, delivery, outcome });
            }
        }
    }
    claimed
}
