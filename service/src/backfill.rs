use std::{str::FromStr, time::Duration};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use stream_inference::pipeline::Pulse;
use transport_kafka::{
    KafkaConfig, KafkaSpan, KafkaStart, KafkaTransport, group_lag, set_group_start, topic_spans,
};

use crate::{Source, stderr};

/// How often the group is asked how far it has come.
const INTERVAL: Duration = Duration::from_millis(500);

/// Reads a topic again from a place, in a group of its own, and may stop at its end.
#[derive(Debug, Args)]
pub struct Backfill {
    /// Begin there, in a new group: beginning, offset:N or time:RFC3339
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// Stop at the end that the topic has now, with exit code 0; stopped before, it is 1
    #[arg(long)]
    until_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(KafkaStart);

impl FromStr for Place {
    type Err = String;

    fn from_str(place: &str) -> Result<Self, String> {
        let expected = || format!("expected beginning, offset:N or time:RFC3339, found {place}");
        match place.split_once(':') {
            None if place == "beginning" => Ok(Self(KafkaStart::Beginning)),
            Some(("offset", offset)) => {
                let offset = offset.parse().ok().filter(|offset| *offset >= 0);
                offset.map(|offset| Self(KafkaStart::Offset(offset))).ok_or_else(expected)
            }
            Some(("time", time)) => match time.parse::<Timestamp>() {
                Ok(time) => Ok(Self(KafkaStart::Time(time.as_millisecond()))),
                Err(error) => Err(format!("{}: {error}", expected())),
            },
            _ => Err(expected()),
        }
    }
}

impl Backfill {
    /// Whether what was read before is read again.
    pub const fn is_again(&self) -> bool {
        self.from.is_some()
    }

    /// Whether there is anything to do but to go on as usual.
    pub const fn is_asked(&self) -> bool {
        self.is_again() || self.has_end()
    }

    /// Whether the consumer is to come to an end by itself.
    pub const fn has_end(&self) -> bool {
        self.until_end
    }

    /// The topic, read in a group that begins where it was told to.
    pub fn source(&self, mut config: KafkaConfig) -> KafkaSource {
        let start = self.from.map(|Place(start)| start);
        if start.is_some() {
            let now = Timestamp::now().as_millisecond();
            config.group_id = format!("{}-backfill-{now}", config.group_id);
        }
        KafkaSource { config, start, until_end: self.until_end }
    }

    /// # Errors
    /// Where there is an end that was not reached.
    pub fn conclude(&self, group: &str, is_reached: bool) -> anyhow::Result<()> {
        anyhow::ensure!(
            is_reached || !self.until_end,
            "stopped before the end of the topic; group {group} goes on from here with --until-end, without \
             --from"
        );
        Ok(())
    }
}

/// A topic of Kafka. Its input ends where all is committed up to the end that the topic has at the start,
/// if that was asked for.
#[derive(Debug)]
pub struct KafkaSource {
    config: KafkaConfig,
    start: Option<KafkaStart>,
    until_end: bool,
}

impl KafkaSource {
    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.config.group_id
    }
}

impl Source for KafkaSource {
    type Transport = KafkaTransport;

    async fn connect(
        self,
        pulse: Pulse,
    ) -> anyhow::Result<(KafkaTransport, impl Future<Output = ()> + Send)> {
        let Self { config, start, until_end } = self;
        if let Some(start) = start {
            stderr().line(format_args!("backfill in group {}", config.group_id));
            let config = config.clone();
            let set = move || set_group_start(&config, start);
            tokio::task::spawn_blocking(set).await?.context("the group's place was not set")?;
        }
        let spans = if until_end {
            let config = config.clone();
            let spans = move || topic_spans(&config, KafkaStart::Beginning);
            Some(tokio::task::spawn_blocking(spans).await??)
        } else {
            None
        };
        let transport = KafkaTransport::connect_until(&config, spans.as_deref()).await?;
        Ok((transport.with_pulse(&pulse), reached(config, spans)))
    }
}

/// Waits until the group has committed everything up to the end; for ever without one.
async fn reached(config: KafkaConfig, spans: Option<Vec<KafkaSpan>>) {
    let Some(spans) = spans else { return std::future::pending().await };
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (config, spans) = (config.clone(), spans.clone());
        let lag = tokio::task::spawn_blocking(move || group_lag(&config, &spans)).await;
        match lag {
            Ok(Ok(0)) => return,
            Ok(Ok(lag)) => tracing::info!(lag, "backfill"),
            Ok(Err(error)) => tracing::warn!(%error, "the group's place is not known"),
            Err(error) => tracing::warn!(%error, "the group's place is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_others_refused_with_what_is_expected() {
        let start = |place: &str| place.parse::<Place>().map(|Place(start)| start);
        assert_eq!(start("beginning"), Ok(KafkaStart::Beginning));
        assert_eq!(start("offset:7"), Ok(KafkaStart::Offset(7)));
        assert_eq!(start("time:1970-01-01T00:00:02Z"), Ok(KafkaStart::Time(2_000)));
        for place in ["", "end", "offset:", "offset:-1", "time:yesterday", "offset"] {
            assert!(start(place).expect_err(place).contains("expected beginning"), "{place}");
        }
    }
}
