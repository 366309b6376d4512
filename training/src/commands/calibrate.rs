//! What serving needs to know of a trained network: how large its activations become, for the engine
//! `int8`, and how it answers where all is well.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use fmnist_core::{
    Classifier, Engine, Image,
    dataset::{self, Dataset, Split},
    engine::activations,
    weights::{Baseline, Origin, Weights, WeightsError},
};

use crate::{console::say, data, place};

/// Training images that activations are measured on.
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
    let out = arguments.out.as_ref().unwrap_or(path);
    place::expect_file(out)?;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut weights = Weights::from_bytes(&bytes)?;
    let train = dataset::open(arguments.data.as_deref(), Split::Train)?;
    data::expect_classes(&train, &weights.metadata.classes)?;
    if let Some(Origin { data_sha256, .. }) = &weights.metadata.origin {
        let found = data::sha256(&train);
        ensure!(
            found == *data_sha256,
            "{}: expected what the model was trained on, SHA-256 {data_sha256}, found {found}",
            train.origin
        );
    }
    calibrate(&mut weights, &train, &data::split(&train).1)?;
    for (layer, largest) in &weights.metadata.activations {
        say!("{layer}: up to {largest:.2}")?;
    }
    weights.save(out)?;
    say!("wrote {}", out.display())
}

/// Notes the largest activations on the first of the training images, and the answers to those that
/// were held out.
pub(crate) fn calibrate(weights: &mut Weights, train: &Dataset, held_out: &[usize]) -> Result<()> {
    measure_activations(weights, train)?;
    let classifier = Classifier::from_bytes(&weights.to_bytes(), Engine::default())?;
    let images: Vec<Image> = held_out.iter().map(|&index| train.images[index].clone()).collect();
    let predictions = classifier.classify(&images)?;
    weights.metadata.baseline = Some(Baseline::of(&predictions, weights.metadata.classes.len()));
    Ok(())
}

/// Notes the largest activations on the first of the training images.
pub(crate) fn measure_activations(
    weights: &mut Weights,
    train: &Dataset,
) -> Result<(), WeightsError> {
    let images = &train.images[..IMAGES.min(train.images.len())];
    weights.metadata.activations = activations(weights, images)?;
    Ok(())
}
