//! One pipeline, several places for the model: `benches/architectures/run.sh`.

mod figures;
mod load;
mod measure;
mod peers;
mod process;
mod report;

use std::{num::NonZeroUsize, path::PathBuf, thread};

use clap::{Parser, Subcommand};

/// Measures deployment architectures beside each other, and writes what was found
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs the peers in turns on the Kafka that FMNIST_TEST_KAFKA names; a JSON line a figure
    Measure(Measure),
    /// Writes tables and plots of such lines
    Report {
        /// The lines
        lines: PathBuf,
        /// Put them into docs/architectures.md and docs/img/architectures.svg
        #[arg(long)]
        write: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Measure {
    /// Where the programs and models are that run.sh has made
    #[arg(long)]
    folder: PathBuf,
    /// Where cargo has put this library's programs
    #[arg(long)]
    programs: PathBuf,
    /// Where the lines go
    #[arg(long)]
    lines: PathBuf,
    /// Only these, by their names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Times that each is measured, in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a backlog and a load last
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How long the model is away in the faults
    #[arg(long, default_value_t = 10)]
    away: u64,
    /// Leaves the settings that are tried out at the first
    #[arg(long)]
    untuned: bool,
    /// Lines of an earlier run: what that tried of the settings is not tried again
    #[arg(long)]
    tried: Option<PathBuf>,
    /// Of the loads' times and of the order of the turns
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of a model, wherever it is; all cores unless said
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

impl Measure {
    fn threads(&self) -> usize {
        let all = || thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, usize::from)
    }
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Measure(arguments) => measure::run(&arguments),
        What::Report { lines, write } => report::run(&lines, write),
    }
}
