use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fmnist_core::{
    audit::{Account, Ledger},
    fail_points::FailPoint,
    message::ResultRecord,
    transport::{Limits, Outbound, Outcome, Publisher, Transport},
};
use test_kit::emulator;
use tokio::{runtime::Runtime, task::JoinSet};
use transport_pubsub::{Emulator, PubSubConfig, PubSubPublisher, PubSubTransport, create_missing};

use crate::{cell::Cell, consumer::Broker};

/// All but the revocation, which Pub/Sub doesn't know.
const POINTS: [FailPoint; 10] = [
    FailPoint::AfterRecv,
    FailPoint::AfterInfer,
    FailPoint::AfterSink,
    FailPoint::AfterPublish,
    FailPoint::BeforeCommit,
    FailPoint::AfterCommit,
    FailPoint::InDrain,
    FailPoint::BeforeSwap,
    FailPoint::AfterSwap,
    FailPoint::AfterRollback,
];

type Read = Arc<Mutex<Vec<Outbound>>>;

/// A subscription of the emulator.
pub(crate) struct PubSub {
    config: PubSubConfig,
    address: String,
    ids: Vec<String>,
    publisher: PubSubPublisher,
    results: Read,
    dead_letters: Read,
    runtime: Runtime,
}

impl PubSub {
    pub(crate) fn new() -> anyhow::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let emulator = std::env::var("PUBSUB_EMULATOR_HOST")?;
        let runtime = Runtime::new()?;
        // Without it, streams of consumers that are dead go on taking messages.
        let address = runtime.block_on(emulator::proxy(emulator)).to_string();
        let config = PubSubConfig {
            project_id: format!("chaos-{}-{number}", std::process::id()),
            results_subscription_id: Some("results-subscription".to_owned()),
            emulator: Some(Emulator::new(&address)?),
            ..PubSubConfig::default()
        };
        let dead_letters = format!("{}-subscription", config.dead_letter_topic);
        runtime.block_on(create_missing(&config))?;
        let publisher = runtime.block_on(PubSubPublisher::connect(&config))?;
        let results = runtime.block_on(reader(&config, "results-subscription"))?;
        let dead_letters = runtime.block_on(reader(&config, &dead_letters))?;
        Ok(Self { config, address, ids: Vec::new(), publisher, results, dead_letters, runtime })
    }
}

/// Reads a subscription in the background, for good.
async fn reader(config: &PubSubConfig, subscription: &str) -> anyhow::Result<Read> {
    let config = PubSubConfig {
        subscription_id: subscription.to_owned(),
        results_topic: None,
        results_subscription_id: None,
        // It writes nothing; a consumer of what it writes would be refused.
        topic: config.dead_letter_topic.clone(),
        dead_letter_topic: config.topic.clone(),
        ..config.clone()
    };
    let mut transport = PubSubTransport::connect(&config).await?;
    let read = Read::default();
    let reading = Arc::clone(&read);
    tokio::spawn(async move {
        let limits = Limits { max_messages: 256, max_bytes: 1 << 20, max_wait: Duration::ZERO };
        let mut seen = HashSet::new();
        loop {
            let Ok(deliveries) = transport.recv(limits).await else { continue };
            let mut settled = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                // A second delivery of the same message is this reader's double.
                if seen.insert(delivery.id.clone()) {
                    let attributes = delivery.attributes.clone();
                    let payload = delivery.payload.clone();
                    let message = Outbound { attributes, payload, ..Outbound::default() };
                    reading.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                }
                settled.push((delivery, Outcome::Recorded));
            }
            drop(tokio::spawn(transport.settle(settled)));
        }
    });
    Ok(read)
}

impl Cell for PubSub {
    fn name(&self) -> String {
        "Pub/Sub emulator, at least once".to_owned()
    }

    fn broker(&self, _: &str) -> Broker {
        Broker::PubSub(self.config.clone(), self.address.clone())
    }

    fn send(&mut self, payloads: Vec<&'static str>) -> anyhow::Result<()> {
        let sent = self.runtime.block_on(async {
            let mut sending = JoinSet::new();
            for payload in payloads {
                let publisher = self.publisher.clone();
                let message = Outbound { payload: payload.into(), ..Outbound::default() };
                sending.spawn(async move { publisher.publish(message).await });
            }
            sending.join_all().await
        });
        for id in sent {
            self.ids.push(id?);
        }
        Ok(())
    }

    fn account(&mut self) -> anyhow::Result<Account> {
        let mut ledger = Ledger::default();
        self.ids.iter().for_each(|id| ledger.input(id));
        let read = |read: &Read| read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for result in read(&self.results) {
            let record: ResultRecord = serde_json::from_slice(&result.payload)?;
            ledger.result(&record.id);
        }
        for letter in read(&self.dead_letters) {
            ledger.dead_letter(letter.attributes.text("fmnist.id").unwrap_or("no id"));
        }
        Ok(ledger.account())
    }

    fn is_exactly_once(&self) -> bool {
        false
    }

    fn points(&self) -> &'static [FailPoint] {
        &POINTS
    }

    fn passages(&self, point: FailPoint) -> u32 {
        if point == FailPoint::InDrain { 1 } else { 4 }
    }

    fn messages_a_death(&self) -> usize {
        100
    }
}
