//! A consumer of a subscription: what it connects, and how it receives, settles and drains.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use google_cloud_pubsub::{client::Subscriber, model::Message};
use stream_inference::{
    Supervisor,
    pipeline::{BatchConfig, Pulse},
    transport::{
        Capabilities, Delivery, Guarantee, Lane, Limits, Outcome, Settlement, Source, Transport,
        TransportError,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time,
};

use crate::{
    PubSubConfig, PubSubError, PubSubToken,
    claims::Claims,
    connect::Connection,
    error::stream_error,
    intake::{Bounds, Intake, Received},
    meters::NAME,
    provision::server::Server,
    settle::{Job, Outputs, Settler},
    wire,
};

/// How long the messages that are given back at the end may take to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// A consumer of a Pub/Sub subscription.
///
/// Nothing is pulled before the first `recv`, and no more than the pipeline may have in flight. A
/// message that is being worked on is kept leased for up to an hour, however short the subscription's
/// acknowledge deadline.
///
/// While a topic does not confirm, the messages concerned are held under their leases, and published
/// again after pauses that grow from a second to half a minute.
#[derive(Debug)]
pub struct PubSubTransport {
    subscriber: Subscriber,
    subscription: String,
    topic: Arc<str>,
    ordered: bool,
    lease: Duration,
    bounds: Bounds,
    supervisor: Supervisor,
    pulse: Arc<OnceLock<Pulse>>,
    routes: Arc<[Arc<str>]>,
    claims: Arc<Claims>,
    /// Received, and not yet handed out: a dropped `recv` leaves its messages here. Declared before
    /// the intake, because what came first must be given back first.
    ready: VecDeque<Delivery<PubSubToken>>,
    intake: Option<Intake>,
    jobs: mpsc::Sender<Job>,
    /// Answers how many messages it gave back.
    settler: JoinHandle<usize>,
}

impl PubSubTransport {
    /// Connects, and checks that the subscription, the results topic and the dead-letter topic
    /// (with a subscription) exist and can be used. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`PubSubError::Missing`] carries the command that creates what is missing, and
    /// [`PubSubError::Unusable`] says what is of no use: a subscription of one of the topics that are
    /// written to, for example. The server is waited for up to 10 s a question.
    pub async fn connect(config: &PubSubConfig) -> Result<Self, PubSubError> {
        Self::connect_within(config, &BatchConfig::default()).await
    }

    /// As [`PubSubTransport::connect`], and receives no more messages and bytes, key and attributes
    /// counted, than the pipeline may have in flight.
    ///
    /// # Errors
    /// As [`PubSubTransport::connect`].
    pub async fn connect_within(
        config: &PubSubConfig,
        batch: &BatchConfig,
    ) -> Result<Self, PubSubError> {
        config.check()?;
        let connection = Connection::new(config)?;
        let input = Server::connect(&connection).await?.check_consumer().await?;
        let routes: Arc<[Arc<str>]> =
            config.routes.iter().map(|route| route.as_str().into()).collect();
        let mut results = HashMap::new();
        if let Some(topic) = &config.results_topic {
            results.insert(None, connection.topic(topic).await?);
        }
        for route in &*routes {
            results.insert(Some(Arc::clone(route)), connection.topic(route).await?);
        }
        let dead_letters = connection.topic(&config.dead_letter_topic).await?;
        let (bounds, supervisor) = (Bounds::new(batch), Supervisor::new());
        let pulse = Arc::<OnceLock<Pulse>>::default();
        let settler = Settler::new(Outputs { results, dead_letters }, Arc::clone(&pulse));
        // Every batch holds a message, and the bounds are those of messages.
        let (jobs, accepted) = mpsc::channel(bounds.max_messages);
        let settler = settler.run(accepted, supervisor.part("task that publishes to Pub/Sub"));
        Ok(Self {
            subscriber: connection.subscriber().await?,
            subscription: config.subscription_name(&config.subscription_id),
            topic: input.topic.unwrap_or_else(|| config.topic.clone()).into(),
            ordered: input.ordered,
            lease: input.acknowledge_deadline,
            bounds,
            supervisor,
            pulse,
            routes,
            intake: None,
            claims: Arc::default(),
            ready: VecDeque::new(),
            jobs,
            settler: tokio::spawn(settler),
        })
    }

    /// Tells `pulse` which topic is waited for, while one does not confirm.
    #[must_use]
    pub fn with_pulse(self, pulse: &Pulse) -> Self {
        // A second one is not told: the first knows all.
        let _ = self.pulse.set(pulse.clone());
        self
    }

    /// Waits for the next message that its lane lets in.
    async fn next(&mut self) -> Result<Delivery<PubSubToken>, TransportError> {
        loop {
            let Self { subscriber, subscription, lease, bounds, supervisor, intake, .. } = self;
            let open = || Intake::open(subscriber, subscription, *lease, bounds, supervisor);
            let intake = intake.get_or_insert_with(open);
            let live = Arc::clone(&intake.live);
            let Received { message, handler, room } = match intake.next().await {
                Some(Ok(received)) => received,
                ended => {
                    self.intake = None;
                    return Err(stream_error(&self.subscription, ended.and_then(Result::err)));
                }
            };
            let now = Instant::now();
            let lane = if self.ordered && !message.ordering_key.is_empty() {
                let claim = self.claims.enter(&message.ordering_key, &message.message_id, now);
                let Some(claim) = claim else {
                    handler.nack();
                    continue;
                };
                Some((Arc::clone(&self.claims), claim))
            } else {
                None
            };
            let attempt = handler.delivery_attempt().and_then(|attempt| attempt.try_into().ok());
            let token = PubSubToken::new(handler, lane, live, now, room);
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
                transport: NAME.into(),
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

    async fn receive(
        &mut self,
        limits: Limits,
    ) -> Result<Vec<Delivery<PubSubToken>>, TransportError> {
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

    /// How many of the ready messages fit, and whether waiting for more is of no use.
    fn fitting(&self, limits: Limits) -> (usize, bool) {
        let mut bytes = 0;
        let fits = |delivery: &&Delivery<PubSubToken>| {
            bytes += delivery.size_bytes();
            bytes <= limits.max_bytes
        };
        let count = self.ready.iter().take(limits.max_messages).take_while(fits).count();
        let full = count == limits.max_messages || count < self.ready.len();
        (count.max(1), full)
    }
}

impl Transport for PubSubTransport {
    type Token = PubSubToken;

    const NAME: &'static str = NAME;

    fn capabilities(&self) -> Capabilities {
        // Attempts are counted only under a dead-letter policy, and then by best effort.
        Capabilities::new(Guarantee::AtLeastOnce).with_lanes(self.ordered)
    }

    fn has_route(&self, topic: &str) -> bool {
        self.routes.iter().any(|route| **route == *topic)
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<PubSubToken>>, TransportError> {
        let supervisor = self.supervisor.clone();
        tokio::select! {
            // A part that ended has left its place empty: nothing would come of what is received.
            biased;
            Some(reason) = supervisor.ended() => Err(TransportError::fatal(&*reason, None)),
            received = self.receive(limits) => received,
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<PubSubToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        // A refused batch is dropped, and so given back, and its answer with it.
        let _ = self.jobs.try_send(Job { batch, done });
        let supervisor = self.supervisor.clone();
        async move {
            answer.await.unwrap_or_else(|_| {
                Err(match supervisor.failure() {
                    Some(reason) => TransportError::fatal(&*reason, None),
                    None => TransportError::Aborted {
                        context: "the Pub/Sub transport takes no more outcomes".to_owned(),
                        source: None,
                    },
                })
            })
        }
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        let deadline = time::Instant::now() + grace;
        let Self { intake, ready, jobs, mut settler, supervisor, .. } = self;
        supervisor.close();
        drop(jobs);
        // What is given back at the end needs time to be sent.
        let settling = deadline - (grace / 4).min(FAREWELL);
        let settled = match time::timeout_at(settling, &mut settler).await {
            Ok(given_back) => given_back.is_ok_and(|messages| messages == 0),
            Err(_) => {
                settler.abort();
                // Its messages are given back before the stream that takes them is closed.
                let _ = settler.await;
                false
            }
        };
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

#[cfg(test)]
mod tests {
    use pubsub_fake::FakePubSub;

    use super::*;
    use crate::create_missing;

    #[tokio::test]
    async fn a_part_that_ends_early_ends_its_transport_and_is_named() {
        let server = FakePubSub::start().await.expect("a free port");
        let config = PubSubConfig {
            project_id: "demo".to_owned(),
            emulator: Some(server.address().into()),
            ..PubSubConfig::default()
        };
        create_missing(&config).await.expect("created");
        let mut transport = PubSubTransport::connect(&config).await.expect("connected");
        transport.settler.abort();
        let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
        let received = transport.recv(limits).await.expect_err("nothing would come of it");
        let settled = transport.settle(Vec::new()).await.expect_err("nobody settles it");
        for error in [received, settled] {
            assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
            let named = error.to_string().contains("task that publishes to Pub/Sub ended early");
            assert!(named, "{error}");
        }
    }
}
