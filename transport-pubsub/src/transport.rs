use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use fmnist_core::transport::{
    Capabilities, Delivery, Guarantee, Lane, Limits, Outcome, Settlement, Source, Transport,
    TransportError,
};
use google_cloud_pubsub::{client::Subscriber, model::Message, subscriber::handler::Handler};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time,
};

use crate::{
    PubSubConfig, PubSubError, PubSubToken,
    connection::Connection,
    error::{code, is_permanent},
    intake::{Intake, MAX_OUTSTANDING_MESSAGES},
    lanes::Lanes,
    settler::{Job, Settler},
    setup::Server,
    wire,
};

/// A consumer of a Pub/Sub subscription.
///
/// Nothing is pulled before the first `recv`. Memory is bounded by the server's flow control:
/// 2,048 messages and 20 MiB may be outstanding. A message that is being worked on is kept leased
/// for up to an hour, however short the subscription's acknowledge deadline.
#[derive(Debug)]
pub struct PubSubTransport {
    subscriber: Subscriber,
    subscription: String,
    topic: Arc<str>,
    ordered: bool,
    lease: Duration,
    lanes: Arc<Lanes>,
    /// Received, and not yet handed out: a dropped `recv` leaves its messages here. Declared before
    /// the intake, because what came first must be given back first.
    ready: VecDeque<Delivery<PubSubToken>>,
    intake: Option<Intake>,
    jobs: mpsc::Sender<Job>,
    settler: JoinHandle<()>,
}

impl PubSubTransport {
    /// Connects, and checks that the subscription, the results topic and the dead-letter topic
    /// (with a subscription) exist. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`PubSubError::Missing`] carries the command that creates what is missing. The server is
    /// waited for up to 10 s a question.
    pub async fn connect(config: &PubSubConfig) -> Result<Self, PubSubError> {
        let connection = Connection::new(config)?;
        let input = Server::connect(&connection).await?.check_consumer().await?;
        let results = match &config.results_topic {
            Some(topic) => Some(connection.topic(topic).await?),
            None => None,
        };
        let dead_letters = connection.topic(&config.dead_letter_topic).await?;
        let publish = metrics::histogram!("fmnist_stage_seconds", "transport" => "pubsub", "stage" => "publish");
        let settler = Settler { results, dead_letters, publish };
        // Every batch holds a message, and the server bounds the messages.
        let (jobs, accepted) = mpsc::channel(MAX_OUTSTANDING_MESSAGES);
        Ok(Self {
            subscriber: connection.subscriber().await?,
            subscription: config.subscription_name(&config.subscription_id),
            topic: input.topic.unwrap_or_else(|| config.topic.clone()).into(),
            ordered: input.ordered,
            lease: input.acknowledge_deadline,
            intake: None,
            lanes: Arc::default(),
            ready: VecDeque::new(),
            jobs,
            settler: tokio::spawn(settler.run(accepted)),
        })
    }

    /// Waits for the next message that its lane lets in.
    async fn next(&mut self) -> Result<Delivery<PubSubToken>, TransportError> {
        loop {
            let intake = self.intake.get_or_insert_with(|| {
                Intake::open(&self.subscriber, &self.subscription, self.lease)
            });
            let live = intake.live();
            let (message, handler) = match intake.next().await {
                Some(Ok(received)) => received,
                Some(Err(error)) => {
                    self.intake = None;
                    return Err(stream_error(&self.subscription, Some(error)));
                }
                None => {
                    self.intake = None;
                    return Err(stream_error(&self.subscription, None));
                }
            };
            let now = Instant::now();
            let lane = if self.ordered && !message.ordering_key.is_empty() {
                match self.lanes.enter(&message.ordering_key, &message.message_id, now) {
                    Some(claim) => Some((Arc::clone(&self.lanes), claim)),
                    None => {
                        handler.nack();
                        continue;
                    }
                }
            } else {
                None
            };
            let attempt = attempt(&handler);
            let token = PubSubToken::new(handler, lane, live, now);
            return Ok(self.delivery(message, attempt, token));
        }
    }

    fn delivery(
        &self,
        message: Message,
        attempt: Option<u32>,
        token: PubSubToken,
    ) -> Delivery<PubSubToken> {
        Delivery {
            source: Source {
                transport: "pubsub".into(),
                topic: Arc::clone(&self.topic),
                partition: None,
                offset: None,
                message_id: Some(message.message_id.clone()),
            },
            id: message.message_id,
            lane: token.lane_key().map(Lane::Key),
            attempt,
            key: (!message.ordering_key.is_empty()).then(|| message.ordering_key.into()),
            attributes: wire::to_attributes(message.attributes),
            payload: message.data,
            token,
        }
    }

    /// How many of the ready messages fit, and whether waiting for more is of no use.
    fn fitting(&self, limits: Limits) -> (usize, bool) {
        let mut bytes = 0;
        let fits = |delivery: &&Delivery<PubSubToken>| {
            bytes += delivery.payload.len();
            bytes <= limits.max_bytes
        };
        let count = self.ready.iter().take(limits.max_messages).take_while(fits).count();
        let full = count == limits.max_messages || count < self.ready.len();
        (count.max(1), full)
    }
}

impl Transport for PubSubTransport {
    type Token = PubSubToken;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guarantee: Guarantee::AtLeastOnce,
            lanes: self.ordered,
            // Counted only under a dead-letter policy, and then by best effort.
            attempts: false,
        }
    }

    fn name(&self) -> &'static str {
        "pubsub"
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<PubSubToken>>, TransportError> {
        let mut until = None;
        loop {
            // An earlier message of their lane was given back in the meantime.
            self.ready.retain(|delivery| !delivery.token.is_pulled_back());
            if self.ready.is_empty() {
                let delivery = self.next().await?;
                self.ready.push_back(delivery);
            }
            let until = *until.get_or_insert_with(|| time::Instant::now() + limits.max_wait);
            let (count, full) = self.fitting(limits);
            if full {
                return Ok(self.ready.drain(..count).collect());
            }
            match time::timeout_at(until, self.next()).await {
                Ok(Ok(delivery)) => self.ready.push_back(delivery),
                // An error will come again with the next call; first the messages.
                Ok(Err(_)) | Err(_) => return Ok(self.ready.drain(..count).collect()),
            }
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<PubSubToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        // A refused batch is dropped, and so given back.
        let accepted = self.jobs.try_send(Job { batch, done }).is_ok();
        async move {
            let aborted = || TransportError::Aborted {
                context: "the Pub/Sub transport takes no more verdicts".to_owned(),
                source: None,
            };
            if !accepted {
                return Err(aborted());
            }
            answer.await.unwrap_or_else(|_| Err(aborted()))
        }
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        let deadline = time::Instant::now() + grace;
        let Self { intake, ready, jobs, settler, .. } = self;
        drop(jobs);
        let settled = time::timeout_at(deadline, settler).await.is_ok();
        drop(ready);
        let closed = match intake {
            Some(intake) => {
                intake.close(deadline.saturating_duration_since(time::Instant::now())).await
            }
            None => true,
        };
        if settled && closed {
            return Ok(());
        }
        Err(TransportError::Aborted {
            context: format!("Pub/Sub did not confirm everything within {} s", grace.as_secs()),
            source: None,
        })
    }
}

fn attempt(handler: &Handler) -> Option<u32> {
    handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok())
}

pub(crate) fn stream_error(
    subscription: &str,
    error: Option<google_cloud_pubsub::Error>,
) -> TransportError {
    let permanent = error.as_ref().and_then(code).is_some_and(is_permanent);
    let source = error.map(Into::into);
    if permanent {
        let context = format!("{subscription} is missing, or this account may not subscribe to it");
        TransportError::Fatal { context, source }
    } else {
        let context = format!("the stream of {subscription} ended");
        TransportError::Unavailable { context, source }
    }
}
