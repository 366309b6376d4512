//! Messages a second through Kafka's transactions, beside the bare client:
//! `scripts/kafka.sh cargo bench -p fmnist-benches --bench transactions`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use fmnist_benches::{Kafka, NoOp, Report, Rounds, Table, drive};
use fmnist_core::{
    dataset::{Split, synthetic},
    message::Requests,
    pipeline::{BatchConfig, PipelineConfig},
    transport::{Limits, Outbound, Outcome, Transport},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use transport_kafka::KafkaGuarantee::{self, AtLeastOnce, ExactlyOnce};

const ROUNDS: usize = 3;
const MESSAGES: usize = 200_000;
/// Messages of a transaction of the bare client, and in flight at most in the others, 2,048 by default.
const SIZES: [usize; 3] = [1_024, 2_048, 4_096];
const WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if !Kafka::is_real() {
        eprintln!("transactions: skipped: run scripts/kafka.sh, which names a real Kafka");
        return Ok(());
    }
    let mut report = Report::new(
        "transactions",
        "Waiting messages of about 150 bytes, received, answered with as many bytes and committed, \
         on a real Kafka on the same cores; four partitions, one consumer. Median over rounds \
         (least–greatest); the rows take turns, ratios are within a round.",
    );
    report.note(
        "`bare client` is rdkafka's consumer and transactional producer in a loop, with a \
         transaction for each so many messages. `transport` is `recv` and `settle` with so many \
         messages unsettled at most, in batches of 256. `pipeline` adds decoding, a model that \
         computes nothing, and JSON results; so many is `batch.max_messages`.",
    );
    for size in SIZES {
        report.add(&table(size).await?);
    }
    report.finish()
}

async fn table(size: usize) -> anyhow::Result<Table> {
    let mut bare = Rounds::default();
    let mut rows = [
        ("transport, exactly once", Rounds::default()),
        ("transport, at least once", Rounds::default()),
        ("pipeline, exactly once", Rounds::default()),
        ("pipeline, at least once", Rounds::default()),
    ];
    for _ in 0..ROUNDS {
        let kafka = filled(ExactlyOnce).await?;
        bare.push(tokio::task::block_in_place(|| bare_client(&kafka, size))?);
        for (row, (_, rounds)) in rows.iter_mut().enumerate() {
            let guarantee = if row % 2 == 0 { ExactlyOnce } else { AtLeastOnce };
            let kafka = filled(guarantee).await?;
            rounds.push(match row {
                0 | 1 => transport(&kafka, size).await?,
                _ => pipeline(&kafka, size).await?,
            });
        }
    }
    let head = format!("{size} messages");
    let mut table = Table::new(&[&head, "messages/s", "÷ bare client"], &[0]);
    table.row(&["bare client, exactly once", &bare.to_string(), "1.00"]);
    for (name, rounds) in &rows {
        table.row(&[name, &rounds.to_string(), &rounds.relative_to(&bare).to_string()]);
    }
    Ok(table)
}

async fn filled(guarantee: KafkaGuarantee) -> anyhow::Result<Kafka> {
    let kafka = Kafka::fresh().await?.with_guarantee(guarantee);
    kafka.fill(&message(), MESSAGES)?;
    Ok(kafka)
}

/// A range, with an unknown member that makes it as long as a result of one image.
fn message() -> Outbound {
    let padding = "x".repeat(100);
    let payload = format!(r#"{{"start_idx": 0, "end_idx": 1, "note": "{padding}"}}"#);
    Outbound { payload: payload.into(), ..Outbound::default() }
}

/// Messages a second after the first tenth.
struct Clock {
    done: usize,
    start: Option<(usize, Instant)>,
}

impl Clock {
    const fn new() -> Self {
        Self { done: 0, start: None }
    }

    /// Counts messages that were committed; returns the speed once all are.
    fn count(&mut self, messages: usize) -> Option<f64> {
        self.done += messages;
        if self.done >= MESSAGES / 10 {
            let (from, start) = *self.start.get_or_insert((self.done, Instant::now()));
            if self.done >= MESSAGES {
                return Some((self.done - from) as f64 / start.elapsed().as_secs_f64());
            }
        }
        None
    }
}

async fn transport(kafka: &Kafka, in_flight: usize) -> anyhow::Result<f64> {
    let mut transport = kafka.consumer().await?;
    let mut clock = Clock::new();
    let mut settling = VecDeque::new();
    let mut unsettled = 0;
    loop {
        if unsettled < in_flight {
            let limits = Limits { max_messages: 256, max_bytes: 1 << 20, max_wait: Duration::ZERO };
            tokio::select! {
                biased;
                received = transport.recv(limits) => {
                    let batch: Vec<_> = received?
                        .into_iter()
                        .map(|delivery| {
                            let payload = delivery.payload.clone();
                            let answer = Outbound { payload, ..Outbound::default() };
                            (delivery, Outcome::Publish(vec![answer]))
                        })
                        .collect();
                    unsettled += batch.len();
                    settling.push_back((batch.len(), Box::pin(transport.settle(batch))));
                    continue;
                }
                () = std::future::ready(()), if !settling.is_empty() => {}
            }
        }
        let (count, settled) = settling.pop_front().context("something is settling")?;
        if settled.await?.published != count {
            bail!("a settlement was aborted");
        }
        unsettled -= count;
        if let Some(speed) = clock.count(count) {
            transport.drain(WAIT).await?;
            return Ok(speed);
        }
    }
}

async fn pipeline(kafka: &Kafka, in_flight: usize) -> anyhow::Result<f64> {
    let images = synthetic(Split::Test, 1, 1).images;
    let batch = BatchConfig { max_messages: in_flight, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let model = Arc::<NoOp>::default();
    let requests = Requests::new(&model, images);
    let speed = drive(kafka.consumer().await?, model, requests, config, MESSAGES);
    Ok(speed.await?.messages)
}

/// The loop that rdkafka's documentation leads to, with the reports awaited before the commit.
fn bare_client(kafka: &Kafka, size: usize) -> anyhow::Result<f64> {
    let (servers, topic, results) = kafka.names();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("transactional.id", topic)
        .set("linger.ms", "0")
        .create()?;
    producer.init_transactions(WAIT)?;
    consumer.subscribe(&[topic])?;
    let mut clock = Clock::new();
    loop {
        producer.begin_transaction()?;
        let begun = Instant::now();
        let mut offsets = BTreeMap::new();
        let mut taken = 0;
        while taken < size {
            let message = match consumer.poll(Duration::from_millis(1)) {
                Some(message) => message?,
                // What waits, but not nothing: a rebalance ends a poll, too.
                None if taken == 0 && begun.elapsed() < WAIT => continue,
                None => break,
            };
            offsets.insert(message.partition(), message.offset() + 1);
            let payload = message.payload().context("a payload")?;
            let record = BaseRecord::<(), [u8]>::to(results).payload(payload);
            producer.send(record).map_err(|(error, _)| error)?;
            taken += 1;
        }
        if taken == 0 {
            bail!("the messages have run out");
        }
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        let mut positions = TopicPartitionList::new();
        for (partition, offset) in offsets {
            positions.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        let member = consumer.group_metadata().context("a member")?;
        producer.send_offsets_to_transaction(&positions, &member, WAIT)?;
        producer.commit_transaction(WAIT)?;
        if let Some(speed) = clock.count(taken) {
            return Ok(speed);
        }
    }
}
