//! From the training images to a weights file.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use fmnist_core::{
    Classifier, Engine,
    dataset::Dataset,
    model::Architecture,
    weights::{self, Metadata, Origin, Weights},
};

use crate::{
    commands::{calibrate::calibrate, card::card, evaluate::judge},
    console::{remark, say},
    data::{self, open_both},
    learn::{
        checkpoint,
        run::{self, Stop},
        trainer::{Setup, Trainer},
    },
    options::{self, RecipeArguments, RunArguments, TeacherArguments},
    place,
};

const GOLDEN_IMAGES: usize = 8;
const WEIGHTS_VERSION: &str = "1.0";

#[derive(clap::Args)]
pub(crate) struct TrainArguments {
    /// The network
    #[arg(long, default_value = "base", value_parser = options::network())]
    pub(crate) model: Architecture,
    /// What the trained model is called wherever it answers [default: its file's name]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    #[command(flatten)]
    pub(crate) recipe: RecipeArguments,
    #[command(flatten)]
    pub(crate) run: RunArguments,
    #[command(flatten)]
    teacher: TeacherArguments,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    pub(crate) data: Option<PathBuf>,
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
    let name = arguments.model.name();
    let folder =
        arguments.checkpoint_dir.clone().unwrap_or_else(|| PathBuf::from("checkpoints").join(name));
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.safetensors")));
    let card_file = out.with_extension("md");
    ensure!(card_file != out, "cannot write {}: its card is of that name", out.display());
    place::expect_file(&out)?;
    place::expect_file(&card_file)?;
    place::expect_folder(&folder)?;

    let (data, test) = open_both(arguments.data.as_deref())?;
    let begun = checkpoint::newest(&folder).is_some();
    if arguments.resume {
        ensure!(begun, "no checkpoint in {}; train without --resume first", folder.display());
    } else {
        ensure!(
            !begun,
            "{} holds a checkpoint; add --resume to go on from it, or remove the folder",
            folder.display()
        );
    }
    if out.exists() {
        remark!("{} is there and will be replaced in the end", out.display())?;
    }
    let stop = Stop::at_ctrl_c()?;
    let Some(Trained { weights, .. }) = train(arguments, &data, Some(&test), &folder, &stop)?
    else {
        return say!("stopped; go on with the same command and --resume");
    };
    let bytes = weights.to_bytes();
    weights.save(&out)?;
    let called = weights.metadata.name_at(&out);
    place::write(&card_file, card(&called, &weights.metadata, &weights::sha256(&bytes)))?;
    // The next run may begin: what this one came to is written.
    checkpoint::remove(&folder)?;
    if let Some(score) = weights.metadata.score {
        say!("accuracy {:.2} % on the test set", 100.0 * score.accuracy)?;
        say!("calibration error {:.2} %", 100.0 * score.calibration_error)?;
    }
    say!("weights in {}", out.display())
}

/// What a run came to.
pub(crate) struct Trained {
    pub(crate) weights: Weights,
    /// What its steps took.
    pub(crate) seconds: f64,
}

/// Trains from the folder's checkpoint, or from the beginning where it has none; `None` if stopped.
/// Judges by the test set, this one time, if there is one.
pub(crate) fn train(
    arguments: &TrainArguments,
    data: &Dataset,
    test: Option<&Dataset>,
    folder: &Path,
    stop: &Stop,
) -> Result<Option<Trained>> {
    let recipe = arguments.recipe.recipe(arguments.model)?;
    let (train, held_out) = data::split(data);
    let teacher = arguments.teacher.teacher(&data.classes)?;
    let setup = Setup { teacher, ..arguments.run.setup(&recipe, data, &train)? };
    let mut trainer = Trainer::new(setup)?;
    if checkpoint::newest(folder).is_some() {
        trainer = trainer.resume(folder)?;
    }
    let every = Duration::from_secs(arguments.checkpoint_every);
    if !run::to_the_end(&mut trainer, &held_out, folder, every, stop)? {
        return Ok(None);
    }
    let weights = finish(&trainer, arguments, &held_out, test)?;
    Ok(Some(Trained { weights, seconds: trainer.seconds() }))
}

impl TrainArguments {
    /// What decides the result, as it is typed.
    fn typed(&self, threads: NonZeroUsize) -> String {
        format!(
            "training train --model {}{} --seed {} --threads {threads}{}{}",
            self.model,
            self.recipe.typed(),
            self.run.seed,
            self.teacher.typed(),
            // The folder's name means something to one machine only; the hash says what it was.
            self.data.as_ref().map_or("", |_| " --data DIR"),
        )
    }
}

/// A name that a model may have, or why not.
fn name(text: &str) -> Result<String, String> {
    if weights::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected {}", weights::NAME))
    }
}

/// Calibrates the trained network, and judges it on the test set, if it is to be read.
fn finish(
    trainer: &Trainer<'_>,
    arguments: &TrainArguments,
    held_out: &[usize],
    test: Option<&Dataset>,
) -> Result<Weights> {
    let &Setup { recipe, data, seed, threads, .. } = trainer.setup();
    let judged = trainer.judge(held_out)?;
    let golden = held_out
        .iter()
        .zip(&judged.logits)
        .take(GOLDEN_IMAGES)
        .map(|(&index, logits)| (data.images[index].clone(), logits.clone()))
        .collect();
    let metadata = Metadata {
        format: weights::FORMAT,
        name: arguments.name.clone(),
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
            command: arguments.typed(threads),
            seed,
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
    if let Some(test) = test {
        weights.metadata.score = Some(judge(&classifier, test)?.0);
    }
    Ok(weights)
}

/// The commit of the source that this program was built from, as it is now.
fn commit() -> Option<String> {
    let words = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let mut git = Command::new("git");
    let output = git.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
