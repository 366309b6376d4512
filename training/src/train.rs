//! From the training images to a weights file.

use std::{
    collections::BTreeMap, fs, num::NonZeroUsize, path::PathBuf, process::Command, time::Duration,
};

use anyhow::{Context, Result, ensure};
use fmnist_core::{
    Classifier, Engine,
    dataset::Dataset,
    model::Architecture,
    weights::{self, Metadata, Origin, Weights},
};

use crate::{
    calibrate::calibrate,
    card::card,
    checkpoint,
    data::{self, open_both},
    evaluate::judge,
    options::{RecipeArguments, RunArguments, TeacherArguments},
    recipe::Recipe,
    run,
    trainer::{Setup, Trainer},
};

const GOLDEN_IMAGES: usize = 8;
const WEIGHTS_VERSION: &str = "1.0";

#[derive(clap::Args)]
pub(crate) struct TrainArguments {
    /// The network: tiny, base, large or notebook
    #[arg(long, default_value = "base")]
    model: Architecture,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    teacher: TeacherArguments,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
    /// Where the weights go [default: MODEL.safetensors]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where checkpoints go [default: checkpoints/MODEL]
    #[arg(long)]
    checkpoint_dir: Option<PathBuf>,
    /// Seconds between two checkpoints; 0 for one after each step
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u64,
    /// Go on from the last checkpoint
    #[arg(long)]
    resume: bool,
}

pub(crate) fn run(arguments: &TrainArguments) -> Result<()> {
    let recipe = arguments.recipe.recipe(arguments.model)?;
    let threads = arguments.run.threads()?;
    let name = recipe.architecture.name();
    let folder =
        arguments.checkpoint_dir.clone().unwrap_or_else(|| PathBuf::from("checkpoints").join(name));
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.safetensors")));

    let (data, test) = open_both(arguments.data.as_deref())?;
    let classes = &data.classes;
    let (train, held_out) = data::split(&data);
    let setup = Setup {
        recipe: &recipe,
        data: &data,
        classes: classes.len(),
        train: &train,
        seed: arguments.run.seed,
        threads,
        burn: arguments.run.burn,
        teacher: arguments.teacher.teacher(classes)?,
    };
    let mut trainer = Trainer::new(setup)?;
    let begun = checkpoint::newest(&folder).is_some();
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

    let checkpoint_every = Duration::from_secs(arguments.checkpoint_every);
    if !run::to_the_end(&mut trainer, &held_out, &folder, checkpoint_every)? {
        println!("stopped; go on with the same command and --resume");
        return Ok(());
    }
    let weights = finish(&trainer, &recipe, arguments, threads, &data, &held_out, &test)?;
    weights.save(&out)?;
    let card = card(&weights.metadata, &weights::sha256(&weights.to_bytes()))?;
    let beside = out.with_extension("md");
    fs::write(&beside, card).with_context(|| format!("cannot write {}", beside.display()))?;
    if let Some(score) = weights.metadata.score {
        println!("accuracy {:.2} % on the test set", 100.0 * score.accuracy);
        println!("calibration error {:.2} %", 100.0 * score.calibration_error);
    }
    println!("weights in {}", out.display());
    Ok(())
}

/// The commit of the source that this program was built from, as it is now.
fn commit() -> Option<String> {
    let words = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let mut git = Command::new("git");
    let output = git.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Calibrates the trained network, and judges it on the test set, this one time.
fn finish(
    trainer: &Trainer<'_>,
    recipe: &Recipe,
    arguments: &TrainArguments,
    threads: NonZeroUsize,
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
        classes: data.classes.to_vec(),
        temperature: judged.fit_temperature() as f32,
        activations: BTreeMap::new(),
        baseline: None,
        score: None,
        origin: Some(Origin {
            command: format!(
                "training train --model {}{} --seed {} --threads {threads}{}{}",
                recipe.architecture,
                arguments.recipe.typed(),
                arguments.run.seed,
                arguments.teacher.typed(),
                // The folder's name means something to one machine only; the hash says what it was.
                arguments.data.as_ref().map_or("", |_| " --data DIR"),
            ),
            seed: arguments.run.seed,
            epochs: recipe.epochs,
            batch: recipe.batch,
            held_out: held_out.len(),
            held_out_accuracy: judged.accuracy(),
            data_sha256: data::sha256(data),
            software: concat!("training ", env!("CARGO_PKG_VERSION"), ", burn 0.22.1").to_owned(),
            commit: commit(),
        }),
    };
    let mut weights = Weights { metadata, tensors: trainer.tensors(), golden };
    calibrate(&mut weights, data, held_out)?;
    let classifier = Classifier::from_bytes(&weights.to_bytes(), Engine::default())?;
    weights.metadata.score = Some(judge(&classifier, test)?.0);
    Ok(weights)
}
