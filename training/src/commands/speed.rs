//! How many images a second a run would go through here.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use fmnist_core::{
    dataset::{self, Split},
    model::Architecture,
};

use crate::{
    console::say,
    data,
    learn::trainer::Trainer,
    options::{self, RecipeArguments, RunArguments},
};

/// Steps that are not counted: buffers grow and caches fill.
const WARM_UP: usize = 3;

#[derive(clap::Args)]
pub(crate) struct SpeedArguments {
    /// The network
    #[arg(long, default_value = "base", value_parser = options::network())]
    model: Architecture,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    /// How long to train
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
}

/// Trains for a while, augmentation and optimiser included, and prints images/s.
pub(crate) fn run(arguments: &SpeedArguments) -> Result<()> {
    let recipe = arguments.recipe.recipe(arguments.model)?;
    let data = dataset::open(arguments.data.as_deref(), Split::Train)?;
    let train = Vec::from_iter(0..data.images.len());
    let mut trainer = Trainer::new(arguments.run.setup(&recipe, &data, &train)?)?;
    for _ in 0..WARM_UP {
        trainer.step()?;
    }
    let (start, first) = (Instant::now(), trainer.step_count());
    let seconds = Duration::try_from_secs_f64(arguments.seconds)?;
    while start.elapsed() < seconds || trainer.step_count() == first {
        trainer.step()?;
    }
    let images = (trainer.step_count() - first) * recipe.batch;
    say!("{:.0} images/s", images as f64 / start.elapsed().as_secs_f64())
}
