use std::collections::HashSet;

use fmnist_core::transport::{
    Delivery, Outbound, Outcome, Rejection, Settlement, TransportError, dead_letter,
    dead_letter_stub,
};
use futures_util::future::join_all;
use google_cloud_pubsub::model::Message;
use metrics::Histogram;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant},
};

use crate::{
    connection::PUBLISH_RETRIES,
    error::Unpublished,
    token::PubSubToken,
    topic::{Round, Sent, Topic},
    wire,
};

/// How long the confirmations of one round may take. Longer than the client tries, so that nothing
/// is sent any more when the messages are given back.
const CONFIRM_DEADLINE: Duration = PUBLISH_RETRIES.saturating_add(Duration::from_secs(10));

/// Batches that are settled together at most.
const ROUND_BATCHES: usize = 64;

/// A batch of verdicts, and who waits for it.
pub(crate) struct Job {
    pub(crate) batch: Vec<(Delivery<PubSubToken>, Outcome)>,
    pub(crate) done: oneshot::Sender<Result<Settlement, TransportError>>,
}

/// Carries out verdicts in the order of the calls: the one task that publishes and acknowledges.
///
/// What was accepted while one round is being confirmed makes up the next, so that throughput grows
/// with the load, and a failure is known before later verdicts of its lane are looked at.
pub(crate) struct Settler {
    pub(crate) results: Option<Topic>,
    pub(crate) dead_letters: Topic,
    /// How long the confirmation of a round's results and dead letters takes.
    pub(crate) publish: Histogram,
}

/// What must be confirmed before a message is acknowledged.
enum Step {
    Record,
    Publish(Vec<Sent>),
    Reject(Rejection, Sent),
    /// A result, and no topic for it.
    Nowhere,
}

/// What is counted when the message has been acknowledged.
enum End {
    Published,
    Recorded,
    Rejected,
}

impl Settler {
    pub(crate) async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut accepted = Vec::new();
        while jobs.recv_many(&mut accepted, ROUND_BATCHES).await > 0 {
            self.settle(std::mem::take(&mut accepted)).await;
        }
    }

    async fn settle(&self, jobs: Vec<Job>) {
        let begun = Instant::now();
        let deadline = begun + CONFIRM_DEADLINE;
        let rounds = (self.results.as_ref().map(Topic::round), self.dead_letters.round());
        let mut waiting = Vec::new();
        let mut answers = Vec::new();
        let mut pending = Vec::new();
        for (job, Job { batch, done }) in jobs.into_iter().enumerate() {
            let mut settlement = Settlement::default();
            for (delivery, outcome) in batch {
                // What is not kept is dropped here, and so given back at once: the later verdicts
                // of its lane see it.
                if delivery.token.is_stale(std::time::Instant::now()) {
                    settlement.stale += 1;
                } else if outcome == Outcome::Retry || delivery.token.is_pulled_back() {
                    settlement.retried += 1;
                } else {
                    let step = begin(&rounds, &delivery, outcome);
                    pending.push((job, delivery, step));
                }
            }
            waiting.push(done);
            answers.push(Ok(settlement));
        }

        let publishes = !pending.is_empty();
        let mut acknowledgements = Vec::new();
        let mut failed_lanes = HashSet::new();
        for (job, delivery, step) in pending {
            let confirmed = self.confirm(&delivery, step, deadline).await;
            fmnist_core::fail_point!(AfterPublish);
            match (confirmed, delivery.token.lane_key()) {
                (Err(error), lane) => {
                    fail(&mut answers[job], error);
                    failed_lanes.extend(lane);
                }
                (Ok(_), Some(lane)) if failed_lanes.contains(&lane) => {
                    count(&mut answers[job], |settlement| settlement.retried += 1);
                }
                (Ok(end), _) => acknowledgements
                    .push(async move { (job, end, delivery.token.acknowledge().await) }),
            }
        }
        if publishes {
            self.publish.record(begun.elapsed());
        }
        fmnist_core::fail_point!(BeforeCommit);
        let acknowledged = join_all(acknowledgements).await;
        fmnist_core::fail_point!(AfterCommit);
        for (job, end, acknowledged) in acknowledged {
            count(&mut answers[job], |settlement| match end {
                _ if !acknowledged => settlement.stale += 1,
                End::Published => settlement.published += 1,
                End::Recorded => settlement.recorded += 1,
                End::Rejected => settlement.rejected += 1,
            });
        }
        for (done, answer) in waiting.into_iter().zip(answers) {
            // Nobody waits where the future was dropped.
            let _ = done.send(answer);
        }
    }

    async fn confirm(
        &self,
        delivery: &Delivery<PubSubToken>,
        step: Step,
        deadline: Instant,
    ) -> Result<End, TransportError> {
        match (step, &self.results) {
            (Step::Record, _) => Ok(End::Recorded),
            (Step::Publish(parts), Some(results)) => {
                for part in parts {
                    let confirmed = results.confirm(part, deadline).await;
                    confirmed.map_err(|error| error.into_transport_error(results.name()))?;
                }
                Ok(End::Published)
            }
            (Step::Publish(_) | Step::Nowhere, _) => Err(TransportError::Fatal {
                context: "a result is to be published, but pubsub.results_topic is null".to_owned(),
                source: None,
            }),
            (Step::Reject(rejection, sent), _) => {
                let topic = &self.dead_letters;
                let mut confirmed = topic.confirm(sent, deadline).await;
                if let Err(Unpublished::Message(_)) = confirmed {
                    let stub = message(delivery, dead_letter_stub(delivery, &rejection));
                    confirmed = topic.publish_alone(stub, deadline).await;
                }
                confirmed.map_err(|error| error.into_transport_error(topic.name()))?;
                Ok(End::Rejected)
            }
        }
    }
}

fn begin(
    (results, dead_letters): &(Option<Round>, Round),
    delivery: &Delivery<PubSubToken>,
    outcome: Outcome,
) -> Step {
    match (outcome, results) {
        (Outcome::Publish(parts), Some(results)) => {
            let send = |part| results.send(message(delivery, part));
            Step::Publish(parts.into_iter().map(send).collect())
        }
        (Outcome::Publish(_), None) => Step::Nowhere,
        (Outcome::Reject(rejection), _) => {
            let letter = message(delivery, dead_letter(delivery, &rejection));
            Step::Reject(rejection, dead_letters.send(letter))
        }
        // Retries have been given back before.
        (Outcome::Recorded | Outcome::Retry, _) => Step::Record,
    }
}

/// What goes out for `delivery`. It has an ordering key only where the delivery had one: a key of
/// its own for each result would order nothing and cost a request each.
fn message(delivery: &Delivery<PubSubToken>, outbound: Outbound) -> Message {
    let message = wire::to_pubsub(&outbound.attributes, outbound.payload);
    let key = delivery.key.as_ref().and(outbound.key).unwrap_or_default();
    message.set_ordering_key(String::from_utf8_lossy(&key))
}

fn count(answer: &mut Result<Settlement, TransportError>, add: impl FnOnce(&mut Settlement)) {
    if let Ok(settlement) = answer {
        add(settlement);
    }
}

/// Keeps the gravest error of a batch.
fn fail(answer: &mut Result<Settlement, TransportError>, error: TransportError) {
    if !matches!(answer, Err(TransportError::Fatal { .. })) {
        *answer = Err(error);
    }
}
