use std::{io, time::Duration};

use clap::Args;
use stream_inference::{
    Supervisor,
    codec::Codec,
    names,
    pipeline::{Pipeline, PipelineReport, Pulse, Sink},
    predict::Predictor,
    transport::Transport,
};

use crate::{
    ConfigArguments, INTERRUPTED, Probes, ProbesConfig, SurveyArguments, Traces,
    shutdown_signal_or, stderr,
};

/// How often a pipeline is asked whether it gets on, so that a stall is in the log.
const WATCH: Duration = Duration::from_secs(10);

/// The arguments of every consumer.
#[derive(Clone, Debug, Args)]
pub struct ConsumerArguments {
    /// What to read.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// What to look for.
    #[command(flatten)]
    pub survey: SurveyArguments,
}

impl ConsumerArguments {
    /// Listens for signals, which end the program at once as long as it has received nothing; with an
    /// error where it was asked something, or has an end to come to.
    ///
    /// # Errors
    /// When the operating system does not let this process listen.
    pub fn shutdown_signal(
        &self,
        has_end: bool,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let asks = self.survey.check || self.survey.create;
        shutdown_signal_or(if asks || has_end { INTERRUPTED } else { 0 })
    }
}

/// A consumer that is observed from its start on: its pulse is watched and measured, its probes answer
/// where there is a port for them, its spans are sent where there is a collector.
pub struct Consumer {
    pulse: Pulse,
    probes: Probes,
    traces: Traces,
    parts: Supervisor,
}

impl Consumer {
    /// Begins to observe one whose messages come over `transport`, a label of metrics.
    ///
    /// # Errors
    /// When the port is taken.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(
        probes: &ProbesConfig,
        transport: &str,
        parts: &Supervisor,
    ) -> anyhow::Result<Self> {
        let pulse = Pulse::default();
        watch(&pulse, parts);
        let probes = Probes::start(probes, &pulse, parts)?;
        pulse.measure(transport);
        if let Some(address) = probes.address() {
            stderr().line(format_args!("probes and metrics on http://{address}"));
        }
        Ok(Self { pulse, probes, traces: Traces::from_env(), parts: parts.clone() })
    }

    /// For the transport, which tells by it what it waits for.
    pub const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// For what else the consumer waits for before it is ready.
    pub const fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Runs the pipeline until `end`, `shutdown`, or until a part of the program has ended; then drains, with
    /// `/readyz` red. Returns whether it was `end`.
    ///
    /// # Errors
    /// What the pipeline ended with. What did not come to its end in time is for [`ended`] to say.
    pub async fn run<T, P, C, S>(
        self,
        pipeline: Pipeline<T, P, C, S>,
        end: impl Future<Output = ()> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<(PipelineReport, bool)>
    where
        T: Transport,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
        S: Sink<C::Record, C::Input>,
    {
        let Self { pulse, probes, traces, parts } = self;
        probes.ready();
        let mut is_reached = false;
        let stop = async {
            tokio::select! {
                () = end => is_reached = true,
                () = shutdown => {}
                _ = parts.ended() => {}
            }
            probes.draining();
        };
        let report = pipeline.with_pulse(pulse).run(stop).await;
        probes.stop().await;
        traces.stop().await;
        Ok((report?, is_reached))
    }
}

/// Asks a pipeline every ten seconds whether it gets on, so that a stall is in the log.
pub fn watch(pulse: &Pulse, parts: &Supervisor) {
    let (pulse, part) = (pulse.clone(), parts.part("task that looks for stalls"));
    tokio::spawn(async move {
        let _part = part;
        let mut ticks = tokio::time::interval(WATCH);
        loop {
            ticks.tick().await;
            pulse.vitals();
        }
    });
}

/// Whether all that was in flight when the program was asked to stop came to its end.
///
/// # Errors
/// With what did not, and what becomes of it.
pub fn ended(report: &PipelineReport) -> anyhow::Result<()> {
    let PipelineReport { inputs, batches, settlement, unfinished, .. } = report;
    let what = names::inputs();
    stderr().line(format_args!("{inputs} {what} in {batches} batches; {settlement:?}"));
    anyhow::ensure!(
        *unfinished == 0,
        "stopped before {unfinished} messages came to their end; they are delivered again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_finished_is_an_error_that_says_what_becomes_of_it() {
        ended(&PipelineReport::default()).expect("all is finished");
        let mut report = PipelineReport::default();
        report.unfinished = 3;
        let error = ended(&report).expect_err("unfinished").to_string();
        assert!(error.contains("3 messages") && error.contains("delivered again"), "{error}");
    }
}
