//! A transport of one's own, in a shell pipe: JSON lines in, result lines out.
//!
//! ```sh
//! echo '{"start_idx": 0, "end_idx": 5}' | cargo run --release --example stdio
//! ```
//!
//! `docs/own-transport.md` goes through it. Everything beside `main.rs` uses nothing but what
//! `fmnist-core` shows to everybody.

mod held;
mod line;
mod transport;

use std::{
    fs::OpenOptions,
    io::{self, BufReader, BufWriter, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use fmnist_core::{
    Classifier,
    dataset::{self, Origin},
    message::{Requests, ResultsConfig},
    pipeline::{Pipeline, PipelineConfig},
};
use line::Format;
use service::{UNREAD, finish, log_from_env, shutdown_signal_or};
use transport::Lines;

/// Classifies JSON lines on stdin; results on stdout, logs on stderr
///
/// A line is a message as on Kafka: a range of the test set, or an Open Inference Protocol request.
/// Results come in the order of the lines. A line that can't be answered becomes a dead letter, one
/// line of JSON with the reason.
///
/// Exit codes: 0 when every line has its result or its dead letter, 141 when stdout was closed, and
/// 1 after any other trouble.
#[derive(Parser)]
#[command(name = "stdio", after_help = EXAMPLES)]
struct Arguments {
    /// Lines in and out are {"key", "attributes", "payload"}; lines of one key keep their order
    #[arg(long)]
    envelopes: bool,
    /// Where dead letters are appended, instead of stderr
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Longer lines become dead letters
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    max_line_bytes: usize,
}

const EXAMPLES: &str = "Examples:
  echo '{\"start_idx\": 0, \"end_idx\": 5}' | cargo run --release --example stdio
  cargo run --release --example stdio -- --dead-letters letters.jsonl < requests.jsonl > results.jsonl";

#[tokio::main]
async fn main() -> ExitCode {
    let _logs = log_from_env();
    let result = answer(Arguments::parse()).await;
    let is_broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    };
    match &result {
        Err(error) if error.chain().any(is_broken_pipe) => ExitCode::from(UNREAD),
        _ => finish(result),
    }
}

async fn answer(arguments: Arguments) -> anyhow::Result<()> {
    // No line is answered yet.
    let shutdown = shutdown_signal_or(1)?;
    let dead_letters: Box<dyn Write + Send> = match &arguments.dead_letters {
        None => Box::new(BufWriter::new(io::stderr())),
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Box::new(BufWriter::new(file.with_context(|| path.display().to_string())?))
        }
    };
    let test_set = dataset::open_or_synthetic(None)?;
    if test_set.origin == Origin::Synthetic {
        let images = test_set.images.len();
        tracing::warn!(images, "Fashion-MNIST was not found: ranges are over synthetic images");
    }
    let model = Classifier::pretrained()?;

    let format = if arguments.envelopes { Format::Envelope } else { Format::Bare };
    let lines = Lines::start(
        format,
        arguments.max_line_bytes,
        BufReader::new(io::stdin()),
        BufWriter::new(io::stdout()),
        dead_letters,
    )?;
    // No line is too long for a pipe, so no result is split.
    let results = ResultsConfig { max_result_bytes: usize::MAX, ..ResultsConfig::default() };
    let requests = Requests::new(&model, test_set.images).with_results(results);
    let report = Pipeline::new(lines.consumer(), model, requests, PipelineConfig::default())
        .run(async {
            tokio::select! {
                () = shutdown => {}
                () = lines.held.finished() => {}
            }
        })
        .await?;
    tracing::info!(images = report.inputs, "{:?}", report.settlement);
    match lines.held.first_without_end() {
        Some(number) => bail!("stopped before line {number} was answered; a pipe keeps nothing"),
        None => Ok(()),
    }
}
