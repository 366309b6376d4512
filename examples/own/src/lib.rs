//! What a program around a model of one's own needs besides: a command line, a Kafka topic or lines on
//! stdin, signals, logs and exit codes.
//!
//! ```no_run
//! use clap::Parser;
//! use own_models::Stream;
//! use stream_inference::{
//!     codec::Json,
//!     predict::{ModelIdentity, PredictError, function},
//! };
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     #[derive(Parser)]
//!     struct Arguments {
//!         #[command(flatten)]
//!         stream: Stream,
//!     }
//!     let model = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f64]| {
//!         Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
//!     });
//!     Arguments::parse().stream.run("doubled", model, Json::<f64, f64>::new()).await
//! }
//! ```
//!
//! Such a program exits with 0 after its input has ended and after SIGINT or SIGTERM, and with 1 where
//! something is left unanswered or went wrong.

#[cfg(feature = "kafka")]
mod kafka;
mod lines;

use std::{
    io::{self, IsTerminal},
    pin::pin,
};

use anyhow::{Context, bail};
use stream_inference::{
    codec::Codec,
    names,
    pipeline::{Pipeline, PipelineConfig},
    predict::Predictor,
};
use tracing_subscriber::EnvFilter;

/// Where messages come from and where results go: lines of stdin to stdout, or from topic to topic.
///
/// To be flattened into the arguments of a program.
#[derive(Debug, clap::Args)]
pub struct Stream {
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    kafka: kafka::Kafka,
}

impl Stream {
    /// Answers messages with `model` until the input ends or a signal comes, then finishes what is in
    /// flight. Metrics and headers are called `program_…` and `program.…`.
    ///
    /// # Errors
    /// What the pipeline ended with, and that messages are left without an answer.
    pub async fn run<P, C>(self, program: &str, model: P, codec: C) -> anyhow::Result<()>
    where
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
    {
        names::set_prefix(program)?;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        logs.with_ansi(io::stderr().is_terminal()).init();
        let mut stop = pin!(signalled()?);

        #[cfg(feature = "kafka")]
        if let Some(config) = self.kafka.config() {
            // A broker that is away is waited for: a signal ends that, too.
            let transport = tokio::select! {
                transport = transport_kafka::KafkaTransport::connect(&config) => transport?,
                () = &mut stop => return Ok(()),
            };
            let pipeline = Pipeline::new(transport, model, codec, PipelineConfig::default());
            return match pipeline.run(stop).await?.unfinished {
                0 => Ok(()),
                n => bail!("{n} messages were not finished in time; they are delivered again"),
            };
        }

        let (lines, input) = lines::Lines::start()?;
        let broker = lines.broker().clone();
        let mut read = Ok(());
        let pipeline = Pipeline::new(lines, model, codec, PipelineConfig::default());
        let ended = async {
            tokio::select! {
                () = stop => {}
                result = input.ended() => read = result,
            }
        };
        pipeline.run(ended).await?;
        read.context("stdin can't be read any further")?;
        match broker.unsettled_messages() {
            0 => Ok(()),
            n => bail!("{n} lines that were read have no answer; a pipe keeps nothing"),
        }
    }
}

/// Resolves at SIGINT or SIGTERM.
fn signalled() -> io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    let mut terminated = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    })
}
