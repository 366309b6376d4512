//! What the pipeline costs a function that returns at once, beside a loop over the bare client that does the
//! same without any guarantee: `scripts/kafka.sh cargo bench -p fmnist-benches --bench function`.

use std::time::{Duration, Instant};

use anyhow::Context;
use fmnist_benches::{Kafka, Report, Rounds, Table, drive};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::Json,
    pipeline::PipelineConfig,
    predict::{ModelIdentity, PredictError, function},
    transport::Outbound,
};
use transport_kafka::KafkaGuarantee::{self, AtLeastOnce, ExactlyOnce};

const ROUNDS: usize = 5;
const MESSAGES: usize = 200_000;
const WAIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Payment {
    amount: f64,
    country: String,
    hour: u8,
}

#[derive(Serialize)]
struct Scored<'a> {
    amount: f64,
    country: &'a str,
    hour: u8,
    risk: f64,
}

fn risk(payment: &Payment) -> f64 {
    (payment.amount / 10_000.0).min(1.0)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if !Kafka::is_real() {
        eprintln!("function: skipped: run scripts/kafka.sh, which names a real Kafka");
        return Ok(());
    }
    let mut report = Report::new(
        "function",
        "Waiting payments of 45 bytes, read as JSON, scored by a function that returns at once, and \
         published with their score in them, on a real Kafka on the same cores; four partitions, one \
         consumer, the default configuration. Median over rounds (least–greatest); the rows take turns, \
         ratios are within a round.",
    );
    report.note(
        "`bare loop` polls, scores and sends with rdkafka, one after the other, with offsets committed by \
         the clock whether their results have arrived or not: a crash loses and repeats messages, an \
         unreadable one would have to be thought of, and nothing bounds what waits for the broker.",
    );
    let mut bare = Rounds::default();
    let mut rows = [
        ("pipeline, at least once", AtLeastOnce, Rounds::default()),
        ("pipeline, exactly once", ExactlyOnce, Rounds::default()),
    ];
    for _ in 0..ROUNDS {
        let kafka = filled(AtLeastOnce).await?;
        bare.push(tokio::task::block_in_place(|| bare_loop(&kafka))?);
        for (_, guarantee, rounds) in &mut rows {
            rounds.push(pipeline(&filled(*guarantee).await?).await?);
        }
    }
    let mut table = Table::new(&["", "messages/s", "÷ bare loop"], &[0]);
    table.row(&["bare loop, no guarantee", &bare.to_string(), "1.00"]);
    for (name, _, rounds) in &rows {
        table.row(&[name, &rounds.to_string(), &rounds.relative_to(&bare).to_string()]);
    }
    report.add(&table);
    report.finish()
}

async fn filled(guarantee: KafkaGuarantee) -> anyhow::Result<Kafka> {
    let kafka = Kafka::fresh().await?.with_guarantee(guarantee);
    let payload = r#"{"amount": 1250, "country": "NL", "hour": 12}"#.into();
    kafka.fill(&Outbound { payload, ..Outbound::default() }, MESSAGES)?;
    Ok(kafka)
}

async fn pipeline(kafka: &Kafka) -> anyhow::Result<f64> {
    let model = function(ModelIdentity::of_code("risk", "1"), |batch: &[Payment]| {
        Ok::<_, PredictError>(batch.iter().map(risk).collect())
    });
    let codec = Json::<Payment, f64>::enriching("risk");
    let consumer = kafka.consumer().await?;
    Ok(drive(consumer, model, codec, PipelineConfig::default(), MESSAGES).await?.messages)
}

/// As many would write it. The clock runs from the first tenth of the messages until the broker has the
/// last result.
fn bare_loop(kafka: &Kafka) -> anyhow::Result<f64> {
    let (servers, topic, results) = kafka.names();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", topic)
        .set("auto.offset.reset", "earliest")
        .create()?;
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create()?;
    consumer.subscribe(&[topic])?;
    let mut start = None;
    for n in 0..MESSAGES {
        if n == MESSAGES / 10 {
            start = Some(Instant::now());
        }
        let message = next(&consumer)?;
        let payment: Payment = serde_json::from_slice(message.payload().context("a payload")?)?;
        let Payment { amount, ref country, hour } = payment;
        let scored = serde_json::to_vec(&Scored { amount, country, hour, risk: risk(&payment) })?;
        let mut record = BaseRecord::<(), [u8]>::to(results).payload(&scored);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::yield_now();
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    producer.flush(WAIT)?;
    let start = start.context("a first tenth")?;
    Ok((MESSAGES - MESSAGES / 10) as f64 / start.elapsed().as_secs_f64())
}

/// A rebalance ends a poll, too.
fn next(consumer: &BaseConsumer) -> anyhow::Result<BorrowedMessage<'_>> {
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        if let Some(message) = consumer.poll(WAIT) {
            return Ok(message?);
        }
    }
    anyhow::bail!("the messages have run out")
}
