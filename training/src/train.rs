//! From the training images to a weights file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use fmnist_core::{
    Classifier, Engine,
    dataset::{self, Dataset, Split},
    label::LABELS,
    model::Architecture,
    weights::{self, Metadata, Origin, Weights},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::{calibrate::calibrate, evaluate::judge, recipe::Recipe, sampling, trainer::Trainer};

/// Training images that no step sees: for the temperature and for choices.
const HELD_OUT: usize = 5_000;
/// The split is the same for every seed, so that runs can be compared.
const SPLIT_SEED: u64 = 1;
const GOLDEN_IMAGES: usize = 8;
const WEIGHTS_VERSION: &str = "1.0";

#[derive(clap::Args)]
pub(crate) struct TrainArguments {
    /// The network: base or notebook
    #[arg(long, default_value = "base")]
    model: Architecture,
    /// Passes over the training images [default: the model's recipe]
    #[arg(long)]
    epochs: Option<usize>,
    /// Images of one step [default: the model's recipe]
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of weights, order and augmentation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the data set's IDX files
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the weights go [default: MODEL.safetensors]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where checkpoints go [default: checkpoints/MODEL]
    #[arg(long)]
    checkpoint_dir: Option<PathBuf>,
    /// Go on from the last checkpoint
    #[arg(long)]
    resume: bool,
}

pub(crate) fn run(arguments: &TrainArguments) -> Result<()> {
    let mut recipe = Recipe::of(arguments.model);
    recipe.epochs = arguments.epochs.unwrap_or(recipe.epochs);
    recipe.batch = arguments.batch.unwrap_or(recipe.batch);
    ensure!(recipe.epochs > 0 && recipe.batch > 0, "--epochs and --batch must be at least 1");
    let name = recipe.architecture.name();
    let folder =
        arguments.checkpoint_dir.clone().unwrap_or_else(|| PathBuf::from("checkpoints").join(name));
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.safetensors")));

    let data = dataset::open(arguments.data.as_deref(), Split::Train)?;
    let test = dataset::open(arguments.data.as_deref(), Split::Test)?;
    let (train, held_out) = sampling::stratified_split(&data.labels, HELD_OUT, SPLIT_SEED);
    let mut trainer = Trainer::new(&recipe, &data, &train, arguments.seed);
    let begun = folder.join("current").exists();
    if arguments.resume {
        ensure!(begun, "no checkpoint in {}; train without --resume first", folder.display());
        trainer = trainer.resume(&folder)?;
    } else {
        ensure!(
            !begun,
            "{} holds a checkpoint; add --resume to go on from it, or remove the folder",
            folder.display()
        );
    }

    if !train_to_the_end(&mut trainer, &held_out, &folder)? {
        println!("stopped; go on with: training train --model {name} --resume");
        return Ok(());
    }
    let weights = finish(&trainer, &recipe, arguments.seed, &data, &held_out, &test)?;
    weights.save(&out)?;
    if let Some(score) = weights.metadata.score {
        println!("accuracy {:.2} % on the test set", 100.0 * score.accuracy);
        println!("calibration error {:.2} %", 100.0 * score.calibration_error);
    }
    println!("weights in {}", out.display());
    Ok(())
}

/// Answers whether the end was reached; Ctrl-C saves and stops between two steps.
fn train_to_the_end(
    trainer: &mut Trainer<'_>,
    held_out: &[usize],
    folder: &std::path::Path,
) -> Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst)).context("cannot see Ctrl-C")?;

    let bar = ProgressBar::with_draw_target(
        Some((trainer.steps_per_epoch() * trainer.epochs()) as u64),
        ProgressDrawTarget::stderr(),
    );
    let style = "{bar:40} {pos}/{len} steps, {elapsed} gone, {eta} to go, {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    bar.set_position(trainer.step_count() as u64);
    let mut losses = Vec::new();
    while !trainer.is_done() {
        losses.push(trainer.step());
        bar.inc(1);
        if trainer.step_count().is_multiple_of(trainer.steps_per_epoch()) {
            let judged = trainer.judge(held_out)?;
            trainer.end_epoch(judged.loss(1.0));
            trainer.save(folder)?;
            let line = format!(
                "epoch {}: loss {:.4}, held out {:.2} % at loss {:.4}",
                trainer.epoch(),
                losses.iter().sum::<f64>() / losses.len() as f64,
                100.0 * judged.accuracy(),
                judged.loss(1.0),
            );
            bar.suspend(|| println!("{line}"));
            bar.set_message(line);
            losses.clear();
        }
        if stop.load(Ordering::SeqCst) {
            trainer.save(folder)?;
            bar.abandon();
            return Ok(trainer.is_done());
        }
    }
    bar.finish_and_clear();
    Ok(true)
}

/// Calibrates the trained network, and judges it on the test set, this one time.
fn finish(
    trainer: &Trainer<'_>,
    recipe: &Recipe,
    seed: u64,
    data: &Dataset,
    held_out: &[usize],
    test: &Dataset,
) -> Result<Weights> {
    let judged = trainer.judge(held_out)?;
    let golden = held_out
        .iter()
        .zip(&judged.logits)
        .take(GOLDEN_IMAGES)
        .map(|(&index, logits)| (data.images[index].clone(), logits.clone()))
        .collect();
    let metadata = Metadata {
        format: weights::FORMAT,
        architecture: recipe.architecture.to_string(),
        version: WEIGHTS_VERSION.to_owned(),
        input_shape: [1, 28, 28],
        normalisation: recipe.normalisation,
        classes: LABELS.map(str::to_owned).into(),
        temperature: judged.fit_temperature() as f32,
        activations: BTreeMap::new(),
        score: None,
        origin: Some(Origin {
            command: format!(
                "training train --model {} --epochs {} --batch {} --seed {seed}",
                recipe.architecture, recipe.epochs, recipe.batch
            ),
            seed,
            epochs: recipe.epochs,
            batch: recipe.batch,
            held_out: held_out.len(),
            held_out_accuracy: judged.accuracy(),
            data_sha256: data_sha256(data),
            software: concat!("training ", env!("CARGO_PKG_VERSION"), ", burn 0.22.1").to_owned(),
        }),
    };
    let mut weights = Weights { metadata, tensors: trainer.tensors(), golden };
    calibrate(&mut weights, data)?;
    let classifier = Classifier::from_bytes(&weights.to_bytes(), Engine::default())?;
    weights.metadata.score = Some(judge(&classifier, test)?.0);
    Ok(weights)
}

fn data_sha256(data: &Dataset) -> String {
    let mut hash = Sha256::new();
    data.images.iter().for_each(|image| hash.update(image.pixels()));
    hash.update(&data.labels);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
