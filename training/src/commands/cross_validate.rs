//! The notebook's evaluation: k networks, each trained without one k-th of the training images and
//! judged by it.

mod plots;
mod report;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fmnist_core::{Image, model::Architecture};

use crate::{
    console::{remark, say},
    data::{self, open_both},
    learn::{
        run::Epoch,
        sampling,
        score::{Judged, argmax, mean_and_deviation},
        trainer::{Setup, Trainer},
    },
    options::{RecipeArguments, RunArguments},
    place,
};

#[derive(clap::Args)]
pub(crate) struct CrossValidateArguments {
    /// The network: notebook, tiny, base or large
    #[arg(long, default_value = "notebook")]
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

/// One network's epochs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
struct Fold {
    epochs: Vec<Epoch>,
}

impl Fold {
    /// Held-out accuracy of the last epoch, which is the notebook's score, 0.0–1.0.
    fn last(&self) -> f64 {
        self.epochs.last().map_or(0.0, |epoch| epoch.held_out_accuracy)
    }

    /// Held-out accuracy of the best epoch, 0.0–1.0.
    fn best(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.held_out_accuracy).fold(0.0, f64::max)
    }
}

/// What an image is and what the network that had not seen it said.
struct Answer {
    image: usize,
    label: usize,
    class: usize,
    /// Of the answer, 0.0–1.0.
    probability: f64,
}

/// Everything that a report shows.
struct Outcome<'a> {
    title: String,
    command: String,
    folds: Vec<Fold>,
    answers: Vec<Answer>,
    /// The class names; the index is the class.
    classes: &'a [String],
    images: &'a [Image],
    first_test_image: &'a Image,
    /// The last network's answer to it and that answer's probability.
    first_test_answer: (usize, f64),
}

pub(crate) fn run(arguments: &CrossValidateArguments) -> Result<()> {
    let recipe = arguments.recipe.recipe(arguments.model)?;
    let threads = arguments.run.threads()?;
    let name = arguments.model.name();
    let folder = arguments.out.clone();
    let folder = folder
        .unwrap_or_else(|| PathBuf::from(format!("training/reports/cross-validation-{name}")));
    place::expect_folder(&folder)?;
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
        let mut trainer = Trainer::new(Setup {
            recipe: &recipe,
            data: &data,
            classes: data.classes.len(),
            train: &train,
            seed: arguments.run.seed + number as u64,
            threads,
            burn: arguments.run.burn,
            teacher: None,
        })?;
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
    let last: Vec<f64> = folds.iter().map(|fold| 100.0 * fold.last()).collect();
    let (mean, deviation) = mean_and_deviation(&last);
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
    report::write(&outcome, &folder)?;
    say!("report in {}", folder.display())
}

/// The answers to images of the data set.
fn answered<'a>(images: &'a [usize], judged: &'a Judged) -> impl Iterator<Item = Answer> + 'a {
    images.iter().zip(&judged.logits).zip(&judged.labels).map(|((&image, logits), &label)| {
        let class = argmax(logits);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - logits[class]).exp()).sum();
        Answer { image, label: label.into(), class, probability: 1.0 / sum }
    })
}

/// Right and wrong answers: a row for each class, a column for each answer.
fn confusion(answers: &[Answer], classes: usize) -> Vec<Vec<usize>> {
    let mut matrix = vec![vec![0; classes]; classes];
    answers.iter().for_each(|answer| matrix[answer.label][answer.class] += 1);
    matrix
}

/// The wrong answers, the most confident first.
fn mistakes(answers: &[Answer]) -> Vec<&Answer> {
    let mut wrong: Vec<&Answer> = answers.iter().filter(|a| a.class != a.label).collect();
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.image.cmp(&b.image)));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(image: usize, label: usize, class: usize, probability: f64) -> Answer {
        Answer { image, label, class, probability }
    }

    #[test]
    fn mistakes_come_by_confidence_and_count_in_their_row() {
        let answers = [
            answer(0, 1, 1, 0.9),
            answer(1, 6, 0, 0.7),
            answer(2, 6, 0, 0.8),
            answer(3, 2, 4, 0.6),
        ];
        let order: Vec<usize> = mistakes(&answers).iter().map(|answer| answer.image).collect();
        assert_eq!(order, [2, 1, 3]);
        let matrix = confusion(&answers, 10);
        assert_eq!((matrix[1][1], matrix[6][0], matrix[2][4], matrix[0][6]), (1, 2, 1, 0));
    }

    #[test]
    fn an_answer_has_the_softmax_of_its_logit() {
        let judged = Judged { logits: vec![vec![0.0, 3.0_f32.ln()]], labels: vec![0] };
        let answer = answered(&[7], &judged).next().expect("one");
        assert_eq!((answer.image, answer.label, answer.class), (7, 0, 1));
        assert!((answer.probability - 0.75).abs() < 1e-6);
    }
}
