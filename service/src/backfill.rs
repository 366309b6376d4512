use std::{str::FromStr, time::Duration};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use stream_inference::{
    codec::Codec,
    pipeline::{Pipeline, Sink},
    predict::Predictor,
    transport::Transport,
};
use transport_kafka::{
    KafkaConfig, KafkaSpan, KafkaStart, group_lag, set_group_start, topic_spans,
};

use crate::{Consumer, ended, stderr};

/// How often the group is asked how far it has come.
const INTERVAL: Duration = Duration::from_millis(500);

/// Reads a topic again from a place, in a group of its own, and may stop at its end.
#[derive(Debug, Args)]
pub struct Backfill {
    /// Begin there, in a new group: beginning, offset:N or time:RFC3339
    #[arg(long, value_name = "PLACE")]
    from: Option<From>,
    /// Stop at the end that the topic has now, with exit code 0; stopped before, it is 1
    #[arg(long)]
    until_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct From(KafkaStart);

impl FromStr for From {
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

/// The end of a backfill.
pub struct End(Option<(KafkaConfig, Vec<KafkaSpan>)>);

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

    /// Gives the consumer a group that begins where it was told to.
    ///
    /// # Errors
    /// If the broker is away or the topic does not exist.
    pub async fn prepare(&self, kafka: &mut KafkaConfig) -> anyhow::Result<End> {
        if let Some(From(start)) = self.from {
            let now = Timestamp::now().as_millisecond();
            kafka.group_id = format!("{}-backfill-{now}", kafka.group_id);
            stderr().line(format_args!("backfill in group {}", kafka.group_id));
            let config = kafka.clone();
            let set = move || set_group_start(&config, start);
            tokio::task::spawn_blocking(set).await?.context("the group's place was not set")?;
        }
        if !self.until_end {
            return Ok(End(None));
        }
        let config = kafka.clone();
        let spans = move || topic_spans(&config, KafkaStart::Beginning);
        let spans = tokio::task::spawn_blocking(spans).await??;
        Ok(End(Some((kafka.clone(), spans))))
    }
}

impl End {
    /// The offsets that are to be read, for [`transport_kafka::KafkaTransport::connect_until`].
    pub fn spans(&self) -> Option<&[KafkaSpan]> {
        self.0.as_ref().map(|(_, spans)| &**spans)
    }

    /// Runs the consumer to this end, or until `shutdown`.
    ///
    /// # Errors
    /// As [`Consumer::run`] and [`ended`], and where there is an end that was not reached.
    pub async fn reached_by<T, P, C, S>(
        self,
        consumer: Consumer,
        pipeline: Pipeline<T, P, C, S>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<()>
    where
        T: Transport,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
        S: Sink<C::Record, C::Input>,
    {
        let group = self.0.as_ref().map(|(config, _)| config.group_id.clone());
        let mut is_reached = false;
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = self.reached() => is_reached = true,
            }
        };
        ended(&consumer.run(pipeline, stop).await?)?;
        match group {
            Some(group) if !is_reached => anyhow::bail!(
                "stopped before the end of the topic; group {group} goes on from here with \
                 --until-end, without --from"
            ),
            _ => Ok(()),
        }
    }

    /// Waits until the group has committed everything up to the end; for ever without one.
    async fn reached(self) {
        let Some((config, spans)) = self.0 else { return std::future::pending().await };
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_others_refused_with_what_is_expected() {
        let start = |place: &str| place.parse::<From>().map(|From(start)| start);
        assert_eq!(start("beginning"), Ok(KafkaStart::Beginning));
        assert_eq!(start("offset:7"), Ok(KafkaStart::Offset(7)));
        assert_eq!(start("time:1970-01-01T00:00:02Z"), Ok(KafkaStart::Time(2_000)));
        for place in ["", "end", "offset:", "offset:-1", "time:yesterday", "offset"] {
            assert!(start(place).expect_err(place).contains("expected beginning"), "{place}");
        }
    }
}
