//! The notebook's evaluation: k networks, each trained without one k-th of the training images and
//! judged by it.

mod outcome;
mod pages;
mod plots;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fmnist_core::model::Architecture;
use outcome::{Fold, Outcome, answered, percents};

use crate::{
    console::{remark, say},
    data::{self, open_both},
    learn::{
        sampling,
        score::{Judged, mean_and_deviation},
        trainer::{Setup, Trainer},
    },
    options::{self, RecipeArguments, RunArguments},
    report,
};

#[derive(clap::Args)]
pub(crate) struct CrossValidateArguments {
    /// The network
    #[arg(long, default_value = "notebook", value_parser = options::network())]
    model: Architecture,
    /// Parts that the training images are cut into
    #[arg(long, default_value_t = 5)]
    folds: usize,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
    /// Folder of the report [default: training/reports/cross-validation-MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &CrossValidateArguments) -> Result<()> {
    let recipe = arguments.recipe.recipe(arguments.model)?;
    let threads = arguments.run.threads()?;
    let name = arguments.model.name();
    let folder = report::folder(arguments.out.as_deref(), format!("cross-validation-{name}"))?;
    let (data, test) = open_both(arguments.data.as_deref())?;
    let count = arguments.folds;
    ensure!(
        count >= 2 && count <= data.images.len(),
        "--folds must be 2 to {}, the number of images",
        data.images.len()
    );

    let parts = sampling::folds(data.images.len(), count, arguments.run.seed);
    let (mut folds, mut answers) = (Vec::new(), Vec::new());
    let mut first_test_answer = (0, 0.0);
    for (number, held_out) in parts.iter().enumerate() {
        let others = parts.iter().enumerate().filter(|(other, _)| *other != number);
        let train: Vec<usize> = others.flat_map(|(_, part)| part.iter().copied()).collect();
        let setup = arguments.run.setup(&recipe, &data, &train)?;
        let seed = setup.seed + number as u64;
        let mut trainer = Trainer::new(Setup { seed, ..setup })?;
        while !trainer.is_done() {
            trainer.step()?;
            if trainer.step_count().is_multiple_of(trainer.steps_per_epoch()) {
                let epoch = trainer.end_epoch(held_out)?;
                let (fold, accuracy) = (number + 1, 100.0 * epoch.held_out_accuracy);
                remark!("fold {fold} of {count}, epoch {}: {accuracy:.3} %", epoch.epoch)?;
            }
        }
        let fold = Fold { epochs: trainer.history().to_vec() };
        say!("> {:.3}", 100.0 * fold.last())?;
        folds.push(fold);
        answers.extend(answered(held_out, &trainer.judge(held_out)?));
        let first = Judged { logits: trainer.logits(&test.images[..1])?, labels: vec![0] };
        first_test_answer =
            answered(&[0], &first).map(|a| (a.class, a.probability)).next().unwrap_or_default();
    }
    let (mean, deviation) = mean_and_deviation(&percents(&folds, Fold::last));
    say!("Accuracy: mean={mean:.3} std={deviation:.3}, n={count}")?;

    let outcome = Outcome {
        title: format!("{count}-fold cross-validation of `{name}`"),
        command: format!(
            "training cross-validate --model {name} --folds {count}{} --seed {} --threads {threads}",
            arguments.recipe.typed(),
            arguments.run.seed
        ),
        folds,
        answers,
        classes: &data.classes,
        images: &data.images,
        first_test_image: &test.images[0],
        first_test_answer,
    };
    pages::write(&outcome, &folder)?;
    say!("report in {}", folder.display())
}
