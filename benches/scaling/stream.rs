//! What goes into the group, and what a reader sees come out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use stream_inference::codec::Record;
use transport_kafka::{KafkaConfig, KafkaPlace};

use crate::member::{Input, Output};

/// A result, when it was seen.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) partition: i32,
    pub(crate) output: Output,
}

/// Reads the results topic, committed results alone, until it is dropped.
pub(crate) struct Reader {
    seen: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Reader {
    pub(crate) fn start(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &kafka.bootstrap_servers)
            .set("group.id", format!("{}-reader", kafka.group_id))
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .create()?;
        consumer.subscribe(&[kafka.results_topic().context("a results topic")?])?;
        let (seen, ended) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let (into, until) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                let message = message?;
                let payload = message.payload().context("a payload")?;
                let record: Record<Output> = serde_json::from_slice(payload)?;
                let place = KafkaPlace::parse(&record.id).context("an id of Kafka")?;
                let output = *record.predictions.first().context("a prediction")?;
                let seen = Seen { at: Instant::now(), partition: place.partition, output };
                into.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            }
            Ok(())
        });
        Ok(Self { seen, ended, thread: Some(thread) })
    }

    /// Waits until what was seen is so.
    pub(crate) fn until(
        &self,
        patience: Duration,
        so: impl Fn(&[Seen]) -> bool,
    ) -> anyhow::Result<Vec<Seen>> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.so_far();
            if so(&seen) {
                return Ok(seen);
            }
            anyhow::ensure!(Instant::now() < deadline, "{} results, and then no more", seen.len());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn so_far(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the reader of results ended: {error:#}");
        }
    }
}

/// Sends numbered messages to one partition after the other.
pub(crate) struct Source {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    partitions: i32,
}

impl Source {
    pub(crate) fn new(kafka: &KafkaConfig, partitions: i32) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &kafka.bootstrap_servers)
            .set("linger.ms", "1")
            .create()?;
        Ok(Self { producer, topic: kafka.topic.clone(), partitions })
    }

    /// So many, at once.
    pub(crate) fn fill(&self, payloads: impl Iterator<Item = Vec<u8>>) -> anyhow::Result<()> {
        for (partition, payload) in (0..self.partitions).cycle().zip(payloads) {
            self.send(partition, &payload)?;
        }
        Ok(self.producer.flush(Duration::from_secs(60))?)
    }

    /// So many a second, each when it is due, until `ended`; returns how many.
    pub(crate) fn steady(&self, rate: f64, ended: &AtomicBool) -> anyhow::Result<usize> {
        let begun = Instant::now();
        let mut sent = 0;
        for partition in (0..self.partitions).cycle() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            let due = begun + Duration::from_secs_f64(sent as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(partition, &numbered(sent))?;
            sent += 1;
        }
        self.producer.flush(Duration::from_secs(60))?;
        Ok(sent)
    }

    fn send(&self, partition: i32, payload: &[u8]) -> anyhow::Result<()> {
        let mut record =
            BaseRecord::<(), [u8]>::to(&self.topic).partition(partition).payload(payload);
        while let Err((error, back)) = self.producer.send(record) {
            anyhow::ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), error);
            record = back;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The message of that number.
pub(crate) fn numbered(n: usize) -> Vec<u8> {
    serde_json::to_vec(&Input { n }).expect("a number")
}
