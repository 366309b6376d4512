//! Sends dead letters to the source topic again:
//! `cargo run --release --example redrive -- --config config.json --dry-run`

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use fmnist_core::transport::{
    DeadLetter, Limits, Outbound, Outcome, PublishError, Publisher, Transport, TransportError,
};
use frontend_actix::Config;
use jiff::Timestamp;
use service::{config::Document, failed, log_from_env, print_line};
use tokio::time::{MissedTickBehavior, interval, timeout};
use transport_kafka::{KafkaHistory, KafkaPublisher, KafkaStart};
use transport_pubsub::{PubSubConfig, PubSubPublisher, PubSubTransport};

/// Sends dead letters to the source topic again: key, payload and headers as they first came.
#[derive(Parser)]
#[command(name = "redrive", after_help = EXAMPLES)]
struct Arguments {
    /// The configuration, as config.example.json
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "kafka")]
    broker: Broker,
    /// Only letters of these stages: DECODE, VALIDATE, INFER, ENCODE, PUBLISH
    #[arg(long, value_delimiter = ',')]
    stage: Vec<String>,
    /// Only letters written at this time or later, RFC 3339 (Kafka)
    #[arg(long)]
    from: Option<Timestamp>,
    /// Only letters written before this time, RFC 3339 (Kafka)
    #[arg(long)]
    to: Option<Timestamp>,
    /// Leave messages that were sent again so often before
    #[arg(long, default_value_t = 3)]
    max_redrives: u32,
    /// Messages a second at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// The dead-letter topic's subscription (Pub/Sub)
    #[arg(long, required_if_eq("broker", "pubsub"))]
    subscription: Option<String>,
    /// Stop after so many seconds without a letter (Pub/Sub)
    #[arg(long, default_value_t = 10)]
    idle_seconds: u64,
    /// List what would be sent and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Broker {
    Kafka,
    Pubsub,
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example redrive -- --config config.json --dry-run
  cargo run --release --example redrive -- --config config.json --stage INFER --rate 20
  cargo run --release --example redrive -- --config config.json \\
      --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z
  cargo run --release --example redrive -- --config config.json --broker pubsub \\
      --subscription dead-letters-subscription

On Kafka the letters stay where they are: the same window twice sends them twice. The last line says
with which --from to go on. On Pub/Sub a letter is acknowledged once its message is confirmed; one
that is left is delivered again.

Exit codes: 0 every chosen letter was sent again, 1 an error, 2 wrong arguments, 3 some were left,
because of --max-redrives, because the broker had not taken them whole as letters, or because it does
not take the message, 141 stdout was closed.";

/// What became of the letters.
#[derive(Default)]
struct Counts {
    sent: usize,
    not_chosen: usize,
    capped: usize,
    stubs: usize,
    foreign: usize,
    refused: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _logs = log_from_env();
    let arguments = Arguments::parse();
    match redrive(&arguments).await {
        Ok(counts) => {
            let Counts { sent, not_chosen, capped, stubs, foreign, refused } = counts;
            let verb = if arguments.dry_run { "would be sent" } else { "sent" };
            eprintln!(
                "{sent} {verb}; left: {not_chosen} not chosen, {capped} sent again {} times \
                 before, {stubs} not whole, {foreign} of another origin, {refused} refused by the broker",
                arguments.max_redrives
            );
            ExitCode::from(if capped + stubs + refused > 0 { 3 } else { 0 })
        }
        Err(error) => failed(&error),
    }
}

async fn redrive(arguments: &Arguments) -> anyhow::Result<Counts> {
    let config = Config::from_env(arguments.config.as_deref())?;
    match arguments.broker {
        Broker::Kafka => from_kafka(arguments, &config).await,
        Broker::Pubsub => from_pubsub(arguments, &config).await,
    }
}

impl Arguments {
    /// The message to send again, if the letter is one to choose.
    fn choose(&self, letter: Outbound, counts: &mut Counts) -> anyhow::Result<Option<Outbound>> {
        let Some(letter) = DeadLetter::read(letter) else {
            counts.foreign += 1;
            return Ok(None);
        };
        let is_chosen = self.stage.is_empty()
            || self.stage.iter().any(|stage| stage.eq_ignore_ascii_case(&letter.stage));
        let left = match () {
            () if !is_chosen => Some(&mut counts.not_chosen),
            () if letter.is_stub => Some(&mut counts.stubs),
            () if letter.redrives >= self.max_redrives => Some(&mut counts.capped),
            () => None,
        };
        if let Some(left) = left {
            *left += 1;
            return Ok(None);
        }
        let DeadLetter { id, stage, redrives, reason, .. } = &letter;
        print_line(format_args!("{id} {stage} redrives {redrives}: {reason}"))?;
        counts.sent += 1;
        Ok(Some(letter.redriven()))
    }

    fn pace(&self) -> tokio::time::Interval {
        let mut pace = interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    }
}

/// Sends a message again; `false` if the broker does not take it, whenever it comes.
async fn send(
    publisher: &impl Publisher,
    message: Outbound,
    letter: &str,
    counts: &mut Counts,
) -> anyhow::Result<bool> {
    match publisher.publish(message).await {
        Ok(_) => Ok(true),
        Err(error @ PublishError::Refused { .. }) => {
            counts.sent -= 1;
            counts.refused += 1;
            eprintln!("{letter}: {:#}", anyhow::Error::from(error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn from_kafka(arguments: &Arguments, config: &Config) -> anyhow::Result<Counts> {
    let kafka = config.kafka.clone();
    let start = match arguments.from {
        Some(from) => KafkaStart::Time(from.as_millisecond()),
        None => KafkaStart::Beginning,
    };
    let until = arguments.to.map(Timestamp::as_millisecond);
    let now = Timestamp::now();
    let publisher = KafkaPublisher::new(&kafka)?;
    let open = move || KafkaHistory::open(&kafka, &kafka.dead_letter_topic, start, until);
    let mut history = tokio::task::spawn_blocking(open).await??;
    let mut counts = Counts::default();
    let mut pace = arguments.pace();
    while let Some(record) = tokio::task::block_in_place(|| history.next_record())? {
        let Some(message) = arguments.choose(record.message, &mut counts)? else { continue };
        if !arguments.dry_run {
            pace.tick().await;
            let letter = format!("partition {} offset {}", record.partition, record.offset);
            send(&publisher, message, &letter, &mut counts).await?;
        }
    }
    eprintln!("go on with --from {}", arguments.to.unwrap_or(now));
    Ok(counts)
}

/// A letter is acknowledged after its message is confirmed on the source topic.
async fn from_pubsub(arguments: &Arguments, config: &Config) -> anyhow::Result<Counts> {
    anyhow::ensure!(
        arguments.from.is_none() && arguments.to.is_none(),
        "--from and --to are for Kafka: Pub/Sub keeps no history to choose from"
    );
    let subscription = arguments.subscription.clone().unwrap_or_default();
    let publisher = PubSubPublisher::connect(&config.pubsub).await?;
    // What is written is the source topic alone: a subscription of that one is refused.
    let mut transport = PubSubTransport::connect(&PubSubConfig {
        subscription_id: subscription,
        results_topic: None,
        dead_letter_topic: config.pubsub.topic.clone(),
        ..config.pubsub.clone()
    })
    .await?;
    let idle = Duration::from_secs(arguments.idle_seconds);
    let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
    let mut counts = Counts::default();
    let mut pace = arguments.pace();
    // Held until the end: a letter that is let go comes again at once.
    let mut left = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < idle {
        let deliveries = match timeout(idle, transport.recv(limits)).await {
            Err(_) => break,
            Ok(Err(TransportError::Unavailable { .. })) => continue,
            Ok(received) => received?,
        };
        last = Instant::now();
        for delivery in deliveries {
            let letter = Outbound {
                key: delivery.key.clone(),
                attributes: delivery.attributes.clone(),
                payload: delivery.payload.clone(),
            };
            match arguments.choose(letter, &mut counts)? {
                Some(message) if !arguments.dry_run => {
                    pace.tick().await;
                    if !send(&publisher, message, &delivery.id, &mut counts).await? {
                        left.push(delivery);
                        continue;
                    }
                    let settled = transport.settle(vec![(delivery, Outcome::Recorded)]).await?;
                    anyhow::ensure!(
                        settled.recorded == 1,
                        "a letter was sent again and not acknowledged: {settled:?}"
                    );
                }
                _ => left.push(delivery),
            }
        }
    }
    drop(left);
    transport.drain(Duration::from_secs(10)).await?;
    Ok(counts)
}
