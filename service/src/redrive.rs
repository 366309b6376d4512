//! Dead letters to the source topic again.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use jiff::Timestamp;
use stream_inference::transport::{
    DeadLetter, Limits, Outbound, Outcome, PublishError, Publisher, Transport, TransportError,
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{Later, failed, print_line};

/// Which dead letters are sent again, and how fast.
#[derive(Clone, Debug, Args)]
pub struct RedriveArguments {
    /// Where the letters are.
    #[arg(long, value_name = "NAME", default_value = "kafka")]
    pub broker: String,
    /// Only letters of these stages: DECODE, VALIDATE, INFER, ENCODE, PUBLISH
    #[arg(long, value_delimiter = ',')]
    stage: Vec<String>,
    /// Only letters written at this time or later, RFC 3339 (Kafka)
    #[arg(long)]
    pub from: Option<Timestamp>,
    /// Only letters written before this time, RFC 3339 (Kafka)
    #[arg(long)]
    pub to: Option<Timestamp>,
    /// Leave messages that were sent again so often before
    #[arg(long, default_value_t = 3)]
    max_redrives: u32,
    /// Messages a second at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// The dead-letter topic's subscription (Pub/Sub)
    #[arg(long, required_if_eq("broker", "pubsub"))]
    pub subscription: Option<String>,
    /// Stop after so many seconds without a letter (Pub/Sub)
    #[arg(long, default_value_t = 10)]
    idle_seconds: u64,
    /// List what would be sent and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Dead letters that can be sent again.
pub trait Letters: Sync {
    /// Offers each of them to `redrive`, which chooses.
    fn send_again<'a>(&'a self, redrive: &'a mut Redrive<'_>) -> Later<'a, anyhow::Result<()>>;
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

/// Letters on their way.
pub struct Redrive<'a> {
    /// Which of them.
    pub arguments: &'a RedriveArguments,
    counts: Counts,
    pace: Interval,
}

impl RedriveArguments {
    /// Sends these letters again. Returns the exit code: 0 where every chosen letter was sent again, 1 after
    /// an error, 3 where some were left.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn send_again(&self, letters: &dyn Letters) -> ExitCode {
        let mut pace = interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut redrive = Redrive { arguments: self, counts: Counts::default(), pace };
        if let Err(error) = letters.send_again(&mut redrive).await {
            return failed(&error);
        }
        let Counts { sent, not_chosen, capped, stubs, foreign, refused } = redrive.counts;
        let verb = if self.dry_run { "would be sent" } else { "sent" };
        eprintln!(
            "{sent} {verb}; left: {not_chosen} not chosen, {capped} sent again {} times before, {stubs} not \
             whole, {foreign} of another origin, {refused} refused by the broker",
            self.max_redrives
        );
        ExitCode::from(if capped + stubs + refused > 0 { 3 } else { 0 })
    }

    fn is_chosen(&self, stage: &str) -> bool {
        self.stage.is_empty() || self.stage.iter().any(|chosen| chosen.eq_ignore_ascii_case(stage))
    }
}

impl Redrive<'_> {
    /// Sends the letter's message again, if it is one to choose, and says whether the broker confirmed it.
    /// `letter` is where it was found.
    ///
    /// # Errors
    /// When the broker is away, or nobody reads stdout any more.
    pub async fn offer(
        &mut self,
        publisher: &impl Publisher,
        message: Outbound,
        letter: &str,
    ) -> anyhow::Result<bool> {
        let Self { arguments, counts, pace } = self;
        let Some(found) = DeadLetter::read(message) else {
            counts.foreign += 1;
            return Ok(false);
        };
        let DeadLetter { id, stage, redrives, reason, .. } = &found;
        let left = if !arguments.is_chosen(stage) {
            Some(&mut counts.not_chosen)
        } else if found.is_stub {
            Some(&mut counts.stubs)
        } else if *redrives >= arguments.max_redrives {
            Some(&mut counts.capped)
        } else {
            None
        };
        if let Some(left) = left {
            *left += 1;
            return Ok(false);
        }
        print_line(format_args!("{id} {stage} redrives {redrives}: {reason}"))?;
        if arguments.dry_run {
            counts.sent += 1;
            return Ok(false);
        }
        pace.tick().await;
        match publisher.publish(found.redriven()).await {
            Ok(_) => {
                counts.sent += 1;
                Ok(true)
            }
            // It does not take this one, whenever it comes.
            Err(error @ PublishError::Refused { .. }) => {
                counts.refused += 1;
                eprintln!("{letter}: {:#}", anyhow::Error::from(error));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Offers what comes over `letters` until nothing has come for a while. What is sent again is
    /// acknowledged, the rest given back.
    ///
    /// # Errors
    /// As [`Redrive::offer`], and those of the transport.
    pub async fn receive(
        &mut self,
        mut letters: impl Transport,
        publisher: &impl Publisher,
    ) -> anyhow::Result<()> {
        let idle = Duration::from_secs(self.arguments.idle_seconds);
        let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
        // Held until the end: a letter that is let go comes again at once.
        let mut left = Vec::new();
        let mut last = Instant::now();
        while last.elapsed() < idle {
            let deliveries = match tokio::time::timeout(idle, letters.recv(limits)).await {
                Err(_) => break,
                Ok(Err(TransportError::Unavailable { .. })) => continue,
                Ok(received) => received?,
            };
            last = Instant::now();
            for delivery in deliveries {
                let message = Outbound {
                    key: delivery.key.clone(),
                    attributes: delivery.attributes.clone(),
                    payload: delivery.payload.clone(),
                    ..Outbound::default()
                };
                if !self.offer(publisher, message, &delivery.id).await? {
                    left.push(delivery);
                    continue;
                }
                let settled = letters.settle(vec![(delivery, Outcome::Recorded)]).await?;
                anyhow::ensure!(
                    settled.recorded == 1,
                    "a letter was sent again and not acknowledged: {settled:?}"
                );
            }
        }
        drop(left);
        letters.drain(Duration::from_secs(10)).await?;
        Ok(())
    }
}
