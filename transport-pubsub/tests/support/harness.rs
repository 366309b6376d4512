use std::{
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    builder::subscription_admin::CreateSubscription,
    client::{Subscriber, SubscriptionAdmin, TopicAdmin},
    model::Message,
    subscriber::handler::Handler,
};
use stream_inference::transport::{
    Attributes, Delivery, Limits, Outbound, Outcome, Publisher, Settlement, Transport,
    conformance::Harness,
};
use tokio::time::{Instant, sleep, timeout};
use transport_pubsub::{
    Emulator, PubSubConfig, PubSubPublisher, PubSubToken, PubSubTransport, create_missing,
};

use crate::server::Server;

/// How long a topic must be quiet to have been read to its end.
const QUIET: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ROUTE: &str = "MODEL-INFERENCE-REVIEWS";

/// Topics and subscriptions in a project of their own, and readers of what comes out.
pub(crate) struct Emulated {
    #[allow(dead_code, reason = "it runs as long as this, and not every server has knobs")]
    pub(crate) server: Server,
    pub(crate) config: PubSubConfig,
    pub(crate) publisher: PubSubPublisher,
    results: Reader,
    routed: Reader,
    dead_letters: Reader,
}

/// A configuration for a server, with the project of that name.
pub(crate) fn config(project: &str, emulator: Emulator) -> PubSubConfig {
    PubSubConfig {
        project_id: project.to_owned(),
        results_subscription_id: Some("results-subscription".to_owned()),
        routes: vec![ROUTE.to_owned()],
        emulator: Some(emulator),
        ..PubSubConfig::default()
    }
}

/// A name that no other test and no other run has used.
pub(crate) fn unique_project() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Emulated {
    pub(crate) async fn new() -> Self {
        Self::with_input(|subscription, _| subscription).await
    }

    /// With the input's subscription changed; the acknowledge deadline is the shortest, 10 s.
    pub(crate) async fn with_input(
        change: impl FnOnce(CreateSubscription, &PubSubConfig) -> CreateSubscription,
    ) -> Self {
        let server = Server::start().await;
        let config = config(&unique_project(), server.emulator());
        let topic = config.topic_name(&config.topic);
        topic_admin(&config).await.create_topic().set_name(&topic).send().await.expect("created");
        let input = subscription_admin(&config)
            .await
            .create_subscription()
            .set_name(config.subscription_name(&config.subscription_id))
            .set_topic(topic)
            .set_ack_deadline_seconds(10)
            .set_enable_message_ordering(true);
        change(input, &config).send().await.expect("created");
        create_missing(&config).await.expect("created");
        let reviews = config.subscription_name("reviews-subscription");
        let request = subscription_admin(&config).await.create_subscription().set_name(reviews);
        let topic = config.topic_name(ROUTE);
        request.set_topic(topic).set_enable_message_ordering(true).send().await.expect("created");
        let dead_letters = format!("{}-subscription", config.dead_letter_topic);
        Self {
            publisher: PubSubPublisher::connect(&config).await.expect("connected"),
            results: Reader::new(&config, "results-subscription").await,
            routed: Reader::new(&config, "reviews-subscription").await,
            dead_letters: Reader::new(&config, &dead_letters).await,
            server,
            config,
        }
    }

    /// Publishes all at once, in no particular order.
    pub(crate) async fn send_together(&self, messages: Vec<Outbound>) -> Vec<String> {
        let sent = messages.into_iter().map(|message| {
            let publisher = self.publisher.clone();
            tokio::spawn(async move { publisher.publish(message).await.expect("confirmed") })
        });
        let mut ids = Vec::new();
        for sent in sent.collect::<Vec<_>>() {
            ids.push(sent.await.expect("published"));
        }
        ids
    }

    /// The ids answered so far, with repetitions.
    pub(crate) fn answered(&self) -> Vec<String> {
        let results = self.results.seen.lock().expect("not poisoned");
        results.iter().filter_map(|m| m.attributes.get("id").cloned()).collect()
    }
}

impl Harness for Emulated {
    type Transport = PubSubTransport;

    async fn connect(&self) -> PubSubTransport {
        PubSubTransport::connect(&self.config).await.expect("connected")
    }

    async fn send(&self, messages: Vec<Outbound>) -> Vec<String> {
        let mut ids = Vec::new();
        for message in messages {
            ids.push(self.publisher.publish(message).await.expect("confirmed"));
        }
        ids
    }

    async fn results(&self) -> Vec<Outbound> {
        self.results.all().await
    }

    async fn dead_letters(&self) -> Vec<Outbound> {
        self.dead_letters.all().await
    }

    fn route(&self) -> Option<&str> {
        Some(ROUTE)
    }

    async fn routed(&self) -> Vec<Outbound> {
        self.routed.all().await
    }

    fn max_message_bytes(&self) -> Option<usize> {
        Some(10 << 20)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// Reads a subscription in the background, from the start.
struct Reader {
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Reader {
    async fn new(config: &PubSubConfig, subscription: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::<Message>::new()));
        let messages = Arc::clone(&seen);
        let name = config.subscription_name(subscription);
        let subscriber = subscriber(config).await;
        tokio::spawn(async move {
            let mut stream = subscriber.subscribe(name).build();
            while let Some(Ok((message, handler))) = stream.next().await {
                let mut messages = messages.lock().expect("not poisoned");
                // The emulator's own redeliveries are not the transport's.
                if messages.iter().all(|seen| seen.message_id != message.message_id) {
                    messages.push(message);
                }
                handler.ack();
            }
        });
        Self { seen }
    }

    async fn all(&self) -> Vec<Outbound> {
        let count = || self.seen.lock().expect("not poisoned").len();
        let (mut before, mut since) = (count(), Instant::now());
        while since.elapsed() < QUIET {
            sleep(Duration::from_millis(50)).await;
            if count() != before {
                (before, since) = (count(), Instant::now());
            }
        }
        self.seen.lock().expect("not poisoned").iter().cloned().map(outbound).collect()
    }
}

fn outbound(message: Message) -> Outbound {
    Outbound {
        key: (!message.ordering_key.is_empty()).then(|| message.ordering_key.into()),
        attributes: message.attributes.into_iter().collect(),
        payload: message.data,
        ..Outbound::default()
    }
}

fn endpoint(config: &PubSubConfig) -> String {
    // As the transport does, which the clients of these tests come before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    config.emulator.as_ref().expect("an emulator").endpoint()
}

pub(crate) async fn topic_admin(config: &PubSubConfig) -> TopicAdmin {
    let builder = TopicAdmin::builder().with_endpoint(endpoint(config));
    builder.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client")
}

pub(crate) async fn subscription_admin(config: &PubSubConfig) -> SubscriptionAdmin {
    let builder = SubscriptionAdmin::builder().with_endpoint(endpoint(config));
    builder.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client")
}

pub(crate) async fn subscriber(config: &PubSubConfig) -> Subscriber {
    let builder = Subscriber::builder().with_endpoint(endpoint(config));
    builder.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client")
}

/// Receives `count` messages, without any transport of this project.
pub(crate) async fn receive_raw(config: &PubSubConfig, count: usize) -> Vec<(Message, Handler)> {
    let subscription = config.subscription_name(&config.subscription_id);
    let mut stream = subscriber(config).await.subscribe(subscription).build();
    let mut received = Vec::new();
    while received.len() < count {
        let next = timeout(PATIENCE, stream.next()).await.expect("in time");
        received.push(next.expect("an open stream").expect("a message"));
    }
    received
}

pub(crate) fn numbered(count: usize) -> Vec<Outbound> {
    (0..count).map(|n| Outbound { payload: n.to_string().into(), ..Outbound::default() }).collect()
}

pub(crate) const LIMITS: Limits =
    Limits { max_messages: 64, max_bytes: 1 << 20, max_wait: Duration::ZERO };

pub(crate) async fn receive(
    transport: &mut PubSubTransport,
    count: usize,
) -> Vec<Delivery<PubSubToken>> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let limits = Limits { max_messages: count - deliveries.len(), ..LIMITS };
        let received = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
        deliveries.extend(received.expect("received"));
    }
    deliveries
}

/// The outcome that answers a message with its payload and its id.
pub(crate) fn echo(delivery: Delivery<PubSubToken>) -> (Delivery<PubSubToken>, Outcome) {
    let attributes: Attributes = [("id", delivery.id.clone())].into_iter().collect();
    let payload = delivery.payload.clone();
    let answer = Outbound { key: delivery.key.clone(), attributes, payload, ..Outbound::default() };
    (delivery, Outcome::Publish(vec![answer]))
}

pub(crate) async fn settle(
    transport: &mut PubSubTransport,
    batch: Vec<(Delivery<PubSubToken>, Outcome)>,
) -> Settlement {
    transport.settle(batch).await.expect("confirmed")
}
