use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use fmnist_core::{
    audit::{Account, Ledger},
    message::ResultRecord,
    transport::{Outbound, Publisher},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tempfile::TempDir;
use test_kit::{Program, example};
use tokio::{runtime::Runtime, task::JoinSet};
use transport_kafka::{
    KafkaConfig, KafkaGuarantee, KafkaHistory, KafkaPublisher, KafkaRecord, KafkaStart,
    create_missing,
};

const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const RANGE: &str = r#"{"start_idx": 0, "end_idx": 3}"#;

/// Topics and a configuration that no other test uses.
pub(crate) struct World {
    pub(crate) kafka: KafkaConfig,
    runtime: Runtime,
    folder: TempDir,
}

impl World {
    pub(crate) fn new(guarantee: KafkaGuarantee) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let servers = std::env::var("FMNIST_TEST_KAFKA")
            .expect("FMNIST_TEST_KAFKA is not set: run scripts/kafka.sh COMMAND");
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("E{}-{number}", std::process::id());
        let kafka = KafkaConfig {
            bootstrap_servers: servers,
            group_id: format!("group-{name}"),
            topic: format!("{name}-IN"),
            results_topic: Some(format!("{name}-RESULTS")),
            dead_letter_topic: format!("{name}-DEAD"),
            guarantee,
            ..KafkaConfig::default()
        };
        let runtime = Runtime::new().unwrap();
        runtime.block_on(create_missing(&kafka, PARTITIONS)).unwrap();
        Self { kafka, runtime, folder: tempfile::tempdir().unwrap() }
    }

    /// An example with this configuration.
    pub(crate) fn command(&self, name: &str) -> Command {
        let path = self.path("config.json");
        let config = serde_json::json!({ "kafka": self.kafka });
        fs::write(&path, config.to_string()).unwrap();
        let mut command = example(name);
        command.arg("--config").arg(path);
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn results_topic(&self) -> &str {
        self.kafka.results_topic().unwrap()
    }

    /// Sends to `topic`, one after the other; returns the ids.
    pub(crate) fn send_to(&self, topic: &str, messages: Vec<Outbound>) -> Vec<String> {
        let publisher = self.publisher(topic);
        let sent = messages.into_iter().map(|m| self.runtime.block_on(publisher.publish(m)));
        sent.map(Result::unwrap).collect()
    }

    /// Sends `count` equal messages at once; returns the ids.
    pub(crate) fn send_many(&self, count: usize) -> Vec<String> {
        let publisher = self.publisher(&self.kafka.topic);
        self.runtime.block_on(async {
            let mut sends = JoinSet::new();
            for _ in 0..count {
                let publisher = publisher.clone();
                sends.spawn(async move { publisher.publish(message(RANGE)).await.unwrap() });
            }
            sends.join_all().await
        })
    }

    /// Leaves a message and a mark at the end of each partition that no reader of committed messages
    /// sees.
    pub(crate) fn abort_transaction(&self) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.bootstrap_servers)
            .set("transactional.id", &self.kafka.topic)
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<(), str>::to(&self.kafka.topic).partition(partition);
            producer.send(record.payload(RANGE)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        producer.abort_transaction(PATIENCE).unwrap();
    }

    /// Deletes everything that the input topic has, as retention does.
    pub(crate) fn expire(&self) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.bootstrap_servers)
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&self.kafka.topic, partition, Offset::End).unwrap();
        }
        let options = AdminOptions::new();
        self.runtime.block_on(admin.delete_records(&all, &options)).unwrap();
    }

    fn publisher(&self, topic: &str) -> KafkaPublisher {
        let kafka = KafkaConfig { topic: topic.to_owned(), ..self.kafka.clone() };
        self.runtime.block_on(KafkaPublisher::connect(&kafka)).unwrap()
    }

    /// Everything on a topic, up to its present end.
    pub(crate) fn read(&self, topic: &str) -> Vec<KafkaRecord> {
        let mut history =
            KafkaHistory::open(&self.kafka, topic, KafkaStart::Beginning, None).unwrap();
        std::iter::from_fn(|| history.next_record().unwrap()).collect()
    }

    pub(crate) fn dead_letters(&self) -> Vec<KafkaRecord> {
        self.read(&self.kafka.dead_letter_topic)
    }

    pub(crate) fn results(&self) -> Vec<ResultRecord> {
        let parse = |r: KafkaRecord| serde_json::from_slice(&r.message.payload).unwrap();
        self.read(self.results_topic()).into_iter().map(parse).collect()
    }

    /// What became of the messages with these ids.
    pub(crate) fn account(&self, ids: &[String]) -> Account {
        let mut ledger = Ledger::default();
        ids.iter().for_each(|id| ledger.input(id));
        self.results().iter().for_each(|result| ledger.result(&result.id));
        for letter in self.dead_letters() {
            ledger.dead_letter(letter.message.attributes.text("fmnist.id").unwrap());
        }
        ledger.account()
    }

    /// Runs the consumer until each of `ids`, which are all there are, has an end.
    pub(crate) fn consume(&self, ids: &[String]) {
        let mut consumer = Program::start(&mut self.command("kafka_consumer"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let account = self.account(ids);
            if account.is_complete() {
                break;
            }
            assert!(Instant::now() < deadline, "{account:?}");
        }
        assert_eq!(consumer.end("-TERM"), Some(0));
    }
}

pub(crate) fn message(payload: &str) -> Outbound {
    Outbound { payload: payload.to_owned().into(), ..Outbound::default() }
}

/// Runs a program to its end; returns its exit code, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
