use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context;
use fmnist_core::{
    audit::{Account, Ledger},
    fail_points::FailPoint,
    message::ResultRecord,
    transport::{Outbound, Publisher},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use tokio::{runtime::Runtime, task::JoinSet};
use transport_kafka::{
    KafkaConfig, KafkaGuarantee, KafkaHistory, KafkaPlace, KafkaPublisher, KafkaStart,
    create_missing,
};

use crate::{
    cell::{Cell, SESSION_TIMEOUT},
    consumer::Broker,
    network::Network,
};

pub(crate) const PARTITIONS: i32 = 4;

/// A topic of a real Kafka, and a way of committing.
pub(crate) struct Kafka {
    way: Way,
    pub(crate) config: KafkaConfig,
    /// Where consumers find the broker, if not where this process does.
    pub(crate) consumers_at: String,
    /// Properties of librdkafka that only consumers have.
    pub(crate) consumers_with: Vec<(&'static str, String)>,
    pub(crate) ids: Vec<String>,
    publisher: KafkaPublisher,
    pub(crate) runtime: Runtime,
}

/// A commit a second, a commit a batch, transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Timer,
    Batch,
    Transactions,
}

impl Kafka {
    pub(crate) fn new(way: Way) -> anyhow::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let servers = std::env::var("FMNIST_TEST_KAFKA")?;
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let topic = format!("C{}-{number}", std::process::id());
        let mut config = KafkaConfig {
            bootstrap_servers: servers,
            group_id: format!("group-{topic}"),
            results_topic: Some(format!("{topic}-RESULTS")),
            dead_letter_topic: format!("{topic}-DEAD"),
            topic,
            ..KafkaConfig::default()
        };
        let mut set = |name: &str, value: &str| {
            config.properties.insert(name.to_owned(), value.to_owned());
        };
        set("session.timeout.ms", &SESSION_TIMEOUT.as_millis().to_string());
        set("heartbeat.interval.ms", "500");
        match way {
            Way::Timer => {}
            Way::Batch => set("auto.commit.interval.ms", "0"),
            Way::Transactions => config.guarantee = KafkaGuarantee::ExactlyOnce,
        }
        let runtime = Runtime::new()?;
        runtime.block_on(create_missing(&config, PARTITIONS))?;
        let publisher = runtime.block_on(KafkaPublisher::connect(&config))?;
        let consumers_at = config.bootstrap_servers.clone();
        let (ids, consumers_with) = (Vec::new(), Vec::new());
        Ok(Self { way, config, consumers_at, consumers_with, ids, publisher, runtime })
    }

    /// Creates those that are not there.
    pub(crate) fn create_topics(&self) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(create_missing(&self.config, PARTITIONS))?)
    }

    /// Puts a network between the broker and the consumers that are started from now on.
    pub(crate) fn network(&mut self) -> anyhow::Result<Network> {
        let variable =
            |name| std::env::var(name).with_context(|| format!("{name}: kafka.sh --proxied"));
        self.consumers_at = variable("FMNIST_TEST_KAFKA_PROXY")?;
        let behind = variable("FMNIST_TEST_KAFKA_BEHIND")?;
        self.runtime.block_on(Network::start(&self.consumers_at, behind))
    }

    pub(crate) fn delete_results_topic(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.config.bootstrap_servers)
            .create()?;
        let topics = [self.config.results_topic().unwrap_or_default()];
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        for deleted in self.runtime.block_on(admin.delete_topics(&topics, &options))? {
            deleted.map_err(|(_, code)| code)?;
        }
        Ok(())
    }

    /// Sends these payloads to one partition and counts them as inputs.
    pub(crate) fn send_to(
        &mut self,
        partition: i32,
        payloads: Vec<&'static str>,
    ) -> anyhow::Result<()> {
        const AT_ONCE: usize = 10_000;
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.config.bootstrap_servers)
            .create()?;
        let topic = &self.config.topic;
        for payloads in payloads.chunks(AT_ONCE) {
            let mut sending = Vec::with_capacity(payloads.len());
            for payload in payloads {
                let record =
                    FutureRecord::<(), _>::to(topic).partition(partition).payload(*payload);
                sending.push(producer.send_result(record).map_err(|(error, _)| error)?);
            }
            for sent in sending {
                let sent = self.runtime.block_on(sent)?.map_err(|(error, _)| error)?;
                let place = KafkaPlace { topic, partition, offset: sent.offset };
                self.ids.push(place.to_string());
            }
        }
        Ok(())
    }

    pub(crate) fn results(&self) -> anyhow::Result<Vec<Outbound>> {
        self.read(self.config.results_topic().unwrap_or_default())
    }

    pub(crate) fn dead_letters(&self) -> anyhow::Result<Vec<Outbound>> {
        self.read(&self.config.dead_letter_topic)
    }

    /// Sends, all at once; returns the ids.
    pub(crate) fn publish(&self, messages: Vec<Outbound>) -> anyhow::Result<Vec<String>> {
        self.runtime.block_on(async {
            let mut sending = JoinSet::new();
            for message in messages {
                let publisher = self.publisher.clone();
                sending.spawn(async move { publisher.publish(message).await });
            }
            let sent = sending.join_all().await;
            Ok(sent.into_iter().collect::<Result<_, _>>()?)
        })
    }

    fn read(&self, topic: &str) -> anyhow::Result<Vec<Outbound>> {
        let mut history = KafkaHistory::open(&self.config, topic, KafkaStart::Beginning, None)?;
        let mut messages = Vec::new();
        while let Some(record) = history.next_record()? {
            messages.push(record.message);
        }
        Ok(messages)
    }
}

impl Cell for Kafka {
    fn name(&self) -> String {
        let name = match self.way {
            Way::Timer => "Kafka, at least once",
            Way::Batch => "Kafka, at least once, a commit a batch",
            Way::Transactions => "Kafka, exactly once",
        };
        name.to_owned()
    }

    fn broker(&self, member: &str) -> Broker {
        let mut config = self.config.clone();
        config.group_instance_id = Some(member.to_owned());
        config.bootstrap_servers.clone_from(&self.consumers_at);
        for (name, value) in &self.consumers_with {
            config.properties.insert((*name).to_owned(), value.clone());
        }
        Broker::Kafka(config)
    }

    fn send(&mut self, payloads: Vec<&'static str>) -> anyhow::Result<()> {
        let message =
            |payload: &'static str| Outbound { payload: payload.into(), ..Outbound::default() };
        let ids = self.publish(payloads.into_iter().map(message).collect())?;
        self.ids.extend(ids);
        Ok(())
    }

    fn account(&mut self) -> anyhow::Result<Account> {
        let mut ledger = Ledger::default();
        self.ids.iter().for_each(|id| ledger.input(id));
        for result in self.results()? {
            let record: ResultRecord = serde_json::from_slice(&result.payload)?;
            ledger.result(&record.id);
        }
        for letter in self.dead_letters()? {
            ledger.dead_letter(letter.attributes.text("fmnist.id").unwrap_or("no id"));
        }
        Ok(ledger.account())
    }

    fn is_exactly_once(&self) -> bool {
        self.config.guarantee == KafkaGuarantee::ExactlyOnce
    }

    fn points(&self) -> &'static [FailPoint] {
        &FailPoint::ALL
    }

    fn passages(&self, point: FailPoint) -> u32 {
        match point {
            FailPoint::InRevoke | FailPoint::InDrain => 1,
            // Of the timer, a second.
            FailPoint::AfterCommit if self.way == Way::Timer => 1,
            _ => 4,
        }
    }

    fn messages_a_death(&self) -> usize {
        400
    }
}
