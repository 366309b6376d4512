//! What the engine `int8` needs to know of a network: how large its activations become.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use fmnist_core::{
    dataset::{self, Dataset, Split},
    engine::activations,
    weights::{Weights, WeightsError},
};

use crate::data;

/// Training images that are looked at.
const IMAGES: usize = 5000;

#[derive(clap::Args)]
pub(crate) struct CalibrateArguments {
    /// The weights file, which is replaced unless --out is given
    #[arg(long)]
    model: PathBuf,
    /// Where the calibrated weights go
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
}

pub(crate) fn run(arguments: &CalibrateArguments) -> Result<()> {
    let path = &arguments.model;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut weights = Weights::from_bytes(&bytes)?;
    calibrate(&mut weights, &dataset::open(arguments.data.as_deref(), Split::Train)?)?;
    for (layer, largest) in &weights.metadata.activations {
        println!("{layer}: up to {largest:.2}");
    }
    let out = arguments.out.as_ref().unwrap_or(path);
    weights.save(out)?;
    println!("wrote {}", out.display());
    Ok(())
}

/// Notes the largest activations on the first of the training images.
pub(crate) fn calibrate(weights: &mut Weights, train: &Dataset) -> Result<(), WeightsError> {
    let images = &train.images[..IMAGES.min(train.images.len())];
    weights.metadata.activations = activations(weights, images)?;
    Ok(())
}
