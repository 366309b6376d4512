//! Messages that are settled one after the other: published, confirmed, acknowledged up to the first that is not.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::join_all;
use google_cloud_pubsub::model::Message;
use stream_inference::{
    pipeline::Waiting,
    transport::{
        DeadLetterForm, Delivery, Fate, Outbound, Outcome, Rejection, Stage, TransportError,
    },
};
use tokio::time::{Duration, Instant};

use super::outputs::{Outputs, Rounds};
use crate::{
    connect::{
        PUBLISH_RETRIES,
        topic::{Sent, Topic},
    },
    error::{Unpublished, in_words},
    token::PubSubToken,
    wire,
};

/// How long the confirmations of one attempt may take. Longer than the client tries, so that nothing
/// is sent any more when the attempt is over.
const CONFIRM_DEADLINE: Duration = PUBLISH_RETRIES.saturating_add(Duration::from_secs(5));

/// A message with its outcome, of the job of that number.
pub(super) struct Pending {
    pub(super) job: u64,
    delivery: Delivery<PubSubToken>,
    work: Work,
}

/// What must be confirmed before a message is acknowledged.
enum Work {
    /// The parts of its result that are not, in order.
    Results(VecDeque<Part>),
    Letter(Rejection),
    /// Nothing is left.
    Done(Fate),
}

/// A part of a result, and whether it goes to a route.
struct Part {
    route: Option<Arc<str>>,
    message: Message,
}

/// What of a message is on its way.
enum Sending {
    Results(Vec<Sent>),
    Letter(Sent, DeadLetterForm),
    Nothing(Fate),
}

/// Why a message has no end yet.
enum Unconfirmed {
    /// The topic's name, and what the client said.
    Outage(String, String),
    Fatal(TransportError),
}

/// Messages that are settled one after the other: those of a lane, or one of none.
pub(super) struct Chain {
    pub(super) lane: Option<Arc<str>>,
    pub(super) pending: VecDeque<Pending>,
    /// The round that it is of, 0 for attempts between the rounds.
    pub(super) round: u64,
    /// Attempts that came to nothing.
    pub(super) failures: u32,
    /// Says so, from the first failure to the end.
    pub(super) waiting: Option<Waiting>,
}

/// What an attempt came to; what has no end is still in the chain.
pub(super) struct Attempt {
    pub(super) chain: Chain,
    pub(super) ends: Vec<(u64, Fate)>,
    /// The topic that did not confirm, and why.
    pub(super) failed: Option<(String, String)>,
    pub(super) fatal: Option<(u64, TransportError)>,
}

impl Pending {
    pub(super) fn new(
        job: u64,
        delivery: Delivery<PubSubToken>,
        outcome: Outcome,
        outputs: &Outputs,
    ) -> Result<Self, TransportError> {
        let fate = outcome.fate();
        let work = match outcome {
            Outcome::Publish(parts) => {
                let stray = parts.iter().find(|part| !outputs.results.contains_key(&part.topic));
                if let Some(Outbound { topic, .. }) = stray {
                    let context = topic.as_ref().map_or_else(
                        || "a result is to be published, but pubsub.results_topic is null".into(),
                        |name| {
                            format!("a result is to go to {name}, which is not in pubsub.routes")
                        },
                    );
                    return Err(TransportError::fatal(context, None));
                }
                let exact = parts.into_iter().map(|mut part| {
                    // A key of its own for each result would order nothing and cost a request each.
                    part.key = delivery.key.as_ref().and(part.key);
                    let route = part.topic.take();
                    wire::exact(part).map(|message| Part { route, message })
                });
                match exact.collect() {
                    Ok(parts) => Work::Results(parts),
                    Err(reason) => Work::Letter(unpublishable(&reason)),
                }
            }
            Outcome::Reject(rejection) => Work::Letter(rejection),
            // Retries have been given back before.
            Outcome::Recorded | Outcome::Filtered | Outcome::Retry => Work::Done(fate),
        };
        Ok(Self { job, delivery, work })
    }

    pub(super) fn lane(&self) -> Option<Arc<str>> {
        self.delivery.token.lane_key()
    }

    fn send(&self, rounds: &Rounds) -> Sending {
        match &self.work {
            Work::Results(parts) => {
                let send = |part: &Part| rounds.results[&part.route].send(part.message.clone());
                Sending::Results(parts.iter().map(send).collect())
            }
            Work::Letter(rejection) => {
                let (letter, form) = self.letter(rejection, DeadLetterForm::Whole);
                Sending::Letter(rounds.dead_letters.send(letter), form)
            }
            Work::Done(fate) => Sending::Nothing(*fate),
        }
    }

    /// The dead letter, in the form that was asked for or the first smaller one that can fit.
    fn letter(&self, rejection: &Rejection, mut form: DeadLetterForm) -> (Message, DeadLetterForm) {
        loop {
            let letter = form.letter(&self.delivery, rejection);
            let letter = wire::letter(letter, &self.delivery.attributes);
            match form.smaller() {
                Some(smaller) if wire::size_bytes(&letter) > wire::MAX_MESSAGE_BYTES => {
                    form = smaller;
                }
                _ => return (letter, form),
            }
        }
    }

    /// Waits for what is on its way. What was refused together with others is tried alone, unless
    /// the chain `is_held`: then it has to wait for what comes before it.
    async fn confirm(
        &mut self,
        outputs: &Outputs,
        sending: Sending,
        is_held: bool,
        deadline: Instant,
    ) -> Result<Fate, Unconfirmed> {
        match sending {
            Sending::Results(sent) => self.confirm_results(outputs, sent, is_held, deadline).await,
            Sending::Letter(sent, form) => {
                let topic = &outputs.dead_letters;
                if is_held {
                    let confirmed = sent.confirmation(deadline).await.map(|_| Fate::Rejected);
                    return confirmed.map_err(|error| Unconfirmed::new(error, topic));
                }
                let confirmed = topic.confirm(sent, deadline).await;
                self.confirm_letter(topic, confirmed, form, deadline).await
            }
            Sending::Nothing(fate) => Ok(fate),
        }
    }

    /// Waits for all parts: while one topic takes nothing, what another took is not sent again.
    async fn confirm_results(
        &mut self,
        outputs: &Outputs,
        sent: Vec<Sent>,
        is_held: bool,
        deadline: Instant,
    ) -> Result<Fate, Unconfirmed> {
        let Work::Results(parts) = &mut self.work else { return Ok(Fate::Retried) };
        let (mut left, mut failure) = (VecDeque::new(), None);
        for (part, sent) in std::mem::take(parts).into_iter().zip(sent) {
            let topic = &outputs.results[&part.route];
            let confirmed = if is_held || failure.is_some() {
                sent.confirmation(deadline).await
            } else {
                topic.confirm(sent, deadline).await
            };
            match confirmed {
                Ok(_) => {}
                Err(Unpublished::Message(cause)) if !is_held && failure.is_none() => {
                    let rejection = unpublishable(&in_words(&*cause));
                    self.work = Work::Letter(rejection.clone());
                    let (letter, form) = self.letter(&rejection, DeadLetterForm::Whole);
                    let topic = &outputs.dead_letters;
                    let confirmed = topic.publish_alone(letter, deadline).await;
                    return self.confirm_letter(topic, confirmed, form, deadline).await;
                }
                Err(error) => {
                    failure.get_or_insert_with(|| Unconfirmed::new(error, topic));
                    left.push_back(part);
                }
            }
        }
        *parts = left;
        failure.map_or(Ok(Fate::Published), Err)
    }

    /// What the topic refuses goes as less, down to the smallest form.
    async fn confirm_letter(
        &self,
        topic: &Topic,
        mut confirmed: Result<String, Unpublished>,
        mut form: DeadLetterForm,
        deadline: Instant,
    ) -> Result<Fate, Unconfirmed> {
        let Work::Letter(rejection) = &self.work else { return Ok(Fate::Retried) };
        while let (Err(Unpublished::Message(_)), Some(smaller)) = (&confirmed, form.smaller()) {
            let letter;
            (letter, form) = self.letter(rejection, smaller);
            confirmed = topic.publish_alone(letter, deadline).await;
        }
        confirmed.map(|_| Fate::Rejected).map_err(|error| Unconfirmed::new(error, topic))
    }
}

/// The rejection of a message whose result Pub/Sub can't carry.
fn unpublishable(reason: &str) -> Rejection {
    Rejection::new(Stage::Publish, format!("Pub/Sub does not take the result: {reason}"))
}

impl Unconfirmed {
    fn new(error: Unpublished, topic: &Topic) -> Self {
        let name = topic.name();
        let (context, source) = match error {
            Unpublished::Unavailable(None) => {
                return Self::Outage(name.to_owned(), "no answer in time".to_owned());
            }
            Unpublished::Unavailable(Some(cause)) | Unpublished::Paused(cause) => {
                return Self::Outage(name.to_owned(), in_words(&*cause));
            }
            Unpublished::Message(cause) => {
                (format!("Pub/Sub refused even a dead letter's stub on {name} for good"), cause)
            }
            Unpublished::Topic(cause) => {
                (format!("{name} is missing, or this account may not publish on it"), cause)
            }
        };
        Self::Fatal(TransportError::fatal(context, Some(source)))
    }
}

impl Chain {
    pub(super) fn new(lane: Option<Arc<str>>, pending: VecDeque<Pending>) -> Self {
        Self { lane, pending, round: 0, failures: 0, waiting: None }
    }

    /// Publishes what is not confirmed, and acknowledges in order up to the first that is not.
    ///
    /// Everything is sent when this is called, the confirmations are awaited by the future.
    pub(super) fn attempt(
        mut self,
        outputs: Arc<Outputs>,
        rounds: Arc<Rounds>,
    ) -> impl Future<Output = Attempt> + Send {
        let mut ends = self.drop_stale();
        let pending = std::mem::take(&mut self.pending);
        let sent: Vec<_> = pending.into_iter().map(|p| (p.send(&rounds), p)).collect();
        let deadline = Instant::now() + CONFIRM_DEADLINE;
        async move {
            let (mut failed, mut fatal) = (None, None);
            let mut acknowledgements = Vec::new();
            let mut chain = self;
            for (sending, mut pending) in sent {
                if fatal.is_some() {
                    ends.push((pending.job, Fate::Retried));
                    continue;
                }
                let is_held = !chain.pending.is_empty();
                let confirmed = pending.confirm(&outputs, sending, is_held, deadline).await;
                stream_inference::fail_point!(AfterPublish);
                match confirmed {
                    Ok(fate) if !is_held => acknowledgements.push(async move {
                        (pending.job, fate, pending.delivery.token.acknowledge().await)
                    }),
                    Ok(fate) => {
                        pending.work = Work::Done(fate);
                        chain.pending.push_back(pending);
                    }
                    Err(Unconfirmed::Outage(topic, error)) => {
                        failed.get_or_insert((topic, error));
                        chain.pending.push_back(pending);
                    }
                    // What is behind one that waits gets another attempt with it.
                    Err(Unconfirmed::Fatal(_)) if is_held => chain.pending.push_back(pending),
                    Err(Unconfirmed::Fatal(error)) => fatal = Some((pending.job, error)),
                }
            }
            // The requests are done with, whatever becomes of the acknowledgements.
            drop(rounds);
            stream_inference::fail_point!(BeforeCommit);
            for (job, fate, is_acknowledged) in join_all(acknowledgements).await {
                ends.push((job, if is_acknowledged { fate } else { Fate::Stale }));
            }
            stream_inference::fail_point!(AfterCommit);
            Attempt { chain, ends, failed, fatal }
        }
    }

    /// Drops the messages from the first on whose lease has gone: they come again, in order.
    fn drop_stale(&mut self) -> Vec<(u64, Fate)> {
        let now = std::time::Instant::now();
        let stale = self.pending.iter().position(|pending| pending.delivery.token.is_stale(now));
        let Some(first) = stale else { return Vec::new() };
        let mut ends = Vec::new();
        for pending in self.pending.drain(first..) {
            let is_stale = pending.delivery.token.is_stale(now);
            ends.push((pending.job, if is_stale { Fate::Stale } else { Fate::Retried }));
        }
        ends
    }
}
