//! Dead letters to the source topic again.

#[cfg(feature = "pubsub")]
use std::time::Instant;
use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use stream_inference::transport::{DeadLetter, Outbound, PublishError, Publisher};
#[cfg(feature = "pubsub")]
use stream_inference::transport::{Limits, Outcome, Transport, TransportError};
use tokio::time::{MissedTickBehavior, interval};
use transport_kafka::{KafkaConfig, KafkaHistory, KafkaPublisher, KafkaStart};
#[cfg(feature = "pubsub")]
use transport_pubsub::{PubSubConfig, PubSubPublisher, PubSubTransport};

use crate::{failed, print_line};

/// Which dead letters are sent again, and how fast.
#[derive(Clone, Debug, Args)]
pub struct RedriveArguments {
    /// Where the letters are.
    #[arg(long, value_enum, default_value = "kafka")]
    pub broker: LettersOn,
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
    #[cfg(feature = "pubsub")]
    #[arg(long, required_if_eq("broker", "pubsub"))]
    subscription: Option<String>,
    /// Stop after so many seconds without a letter (Pub/Sub)
    #[cfg(feature = "pubsub")]
    #[arg(long, default_value_t = 10)]
    idle_seconds: u64,
    /// List what would be sent and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// See [`RedriveArguments::broker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LettersOn {
    /// On a topic, where they stay.
    Kafka,
    /// On a subscription, which loses what is sent again.
    #[cfg(feature = "pubsub")]
    Pubsub,
}

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

impl RedriveArguments {
    /// Sends letters of the dead-letter topic again. Answers the exit code: 0 where every chosen letter was
    /// sent again, 1 after an error, 3 where some were left.
    pub async fn kafka(&self, config: &KafkaConfig) -> ExitCode {
        self.conclude(from_kafka(self, config).await)
    }

    /// As [`RedriveArguments::kafka`], of a subscription of the dead-letter topic.
    #[cfg(feature = "pubsub")]
    pub async fn pubsub(&self, config: &PubSubConfig) -> ExitCode {
        self.conclude(from_pubsub(self, config).await)
    }

    fn conclude(&self, counts: anyhow::Result<Counts>) -> ExitCode {
        match counts {
            Ok(Counts { sent, not_chosen, capped, stubs, foreign, refused }) => {
                let verb = if self.dry_run { "would be sent" } else { "sent" };
                eprintln!(
                    "{sent} {verb}; left: {not_chosen} not chosen, {capped} sent again {} times \
                     before, {stubs} not whole, {foreign} of another origin, {refused} refused by \
                     the broker",
                    self.max_redrives
                );
                ExitCode::from(if capped + stubs + refused > 0 { 3 } else { 0 })
            }
            Err(error) => failed(&error),
        }
    }

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

async fn from_kafka(arguments: &RedriveArguments, config: &KafkaConfig) -> anyhow::Result<Counts> {
    let kafka = config.clone();
    let start = match arguments.from {
        Some(from) => KafkaStart::Time(from.as_millisecond()),
        None => KafkaStart::Beginning,
    };
    let until = arguments.to.map(Timestamp::as_millisecond);
    let now = Timestamp::now();
    let publisher = KafkaPublisher::connect(&kafka).await?;
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
#[cfg(feature = "pubsub")]
async fn from_pubsub(
    arguments: &RedriveArguments,
    config: &PubSubConfig,
) -> anyhow::Result<Counts> {
    anyhow::ensure!(
        arguments.from.is_none() && arguments.to.is_none(),
        "--from and --to are for Kafka: Pub/Sub keeps no history to choose from"
    );
    let subscription = arguments.subscription.clone().unwrap_or_default();
    let publisher = PubSubPublisher::connect(config).await?;
    // The other way round: dead letters are read, and what is written is the source topic alone, of which
    // a subscription is refused.
    let mut transport = PubSubTransport::connect(&PubSubConfig {
        subscription_id: subscription,
        topic: config.dead_letter_topic.clone(),
        results_topic: None,
        results_subscription_id: None,
        routes: Vec::new(),
        dead_letter_topic: config.topic.clone(),
        ..config.clone()
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
        let deliveries = match tokio::time::timeout(idle, transport.recv(limits)).await {
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
                ..Outbound::default()
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
