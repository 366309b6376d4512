//! The producer's side: carries out verdicts in call order and waits for the delivery reports.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fmnist_core::transport::{
    Delivery, Outbound, Outcome, Rejection, Settlement, TransportError, dead_letter,
    dead_letter_stub,
};
use rdkafka::{
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    producer::DeliveryFuture,
};
use tokio::sync::{Notify, oneshot};

use crate::{
    KafkaToken,
    clients::Clients,
    consumer::Shared,
    lanes::{Claim, Standing},
    wire,
};

/// How long a full producer queue is given to drain before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

pub(crate) type Verdicts = Vec<(Delivery<KafkaToken>, Outcome)>;
pub(crate) type Reply = oneshot::Sender<Result<Settlement, TransportError>>;

/// Verdicts that wait for the producer; bounded by what `recv` has handed out.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: std::sync::Mutex<VecDeque<(Verdicts, Reply)>>,
    filled: Notify,
}

impl Outbox {
    pub(crate) fn push(&self, verdicts: Verdicts, reply: Reply) {
        let queue = self.queue.lock();
        queue.unwrap_or_else(|poisoned| poisoned.into_inner()).push_back((verdicts, reply));
        self.filled.notify_one();
    }

    async fn pop(&self) -> (Verdicts, Reply) {
        loop {
            let first = {
                let queue = self.queue.lock();
                queue.unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
            };
            match first {
                Some(first) => return first,
                None => self.filled.notified().await,
            }
        }
    }
}

/// Everything that carrying out a verdict needs.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) results_topic: Option<Arc<str>>,
    pub(crate) dead_letter_topic: Arc<str>,
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
    /// Carries out verdicts for ever, in call order.
    pub(crate) async fn run(self, outbox: Arc<Outbox>) {
        loop {
            let (verdicts, reply) = outbox.pop().await;
            let mut settlement = Settlement::default();
            let mut sent = Vec::with_capacity(verdicts.len());
            for (delivery, outcome) in verdicts {
                sent.extend(self.send(delivery, outcome, &mut settlement).await);
            }
            let courier = self.clone();
            tokio::spawn(async move {
                let result = courier.confirm(sent, settlement).await;
                courier.shared.state().settlements -= 1;
                courier.shared.confirmed.notify_waiters();
                // Nobody waits for a settlement whose future was dropped.
                let _ = reply.send(result);
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
        loop {
            match self.clients.producer.send_result(wire::record(topic, message)) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
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
    ) -> Result<Settlement, TransportError> {
        let mut refused = None;
        for Sent { claim, kind, reports } in sent {
            let mut confirmed = confirmation(reports).await;
            if let (Err(error), Kind::DeadLetter(letter)) = (&confirmed, &kind)
                && is_too_large(error)
            {
                let stub = dead_letter_stub(&letter.0, &letter.1);
                let report = self.enqueue(&self.dead_letter_topic, &stub).await;
                confirmed = confirmation(vec![report]).await;
            }
            match confirmed {
                Ok(()) => self.acknowledge(claim, &kind, &mut settlement),
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
        match refused {
            None => Ok(settlement),
            Some(error) => {
                let context = format!("Kafka refused an answer to {} for good", self.shared.topic);
                self.shared.fail(format!("{context}: {error}"));
                Err(TransportError::Fatal { context, source: Some(error.into()) })
            }
        }
    }

    fn acknowledge(&self, claim: Claim, kind: &Kind, settlement: &mut Settlement) {
        // Stored under the lock: of two confirmations at once, the later mark must be stored last,
        // and before a revocation of the partition goes on.
        let mut state = self.shared.state();
        let standing = state.lanes.standing(claim);
        if let Some(offset) = state.lanes.done(claim) {
            let consumer = &self.clients.consumer;
            if let Err(error) = consumer.store_offset(&self.shared.topic, claim.partition, offset) {
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

fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize)
    )
}

/// Whether trying again would only be refused again.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let refused = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::InvalidTopic
                | Code::InvalidRecord
                | Code::InvalidRequiredAcks
                | Code::InvalidTimestamp
                | Code::PolicyViolation
                | Code::UnsupportedForMessageFormat
                | Code::UnsupportedCompressionType
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::Fatal
        )
    );
    refused || is_too_large(error)
}
