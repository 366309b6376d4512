//! The report: Markdown to read, JSON to compute with, and the pictures beside them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use markdown::Table;

use super::{
    outcome::{Answer, Fold, Outcome, mistakes, percents},
    plots,
};
use crate::{
    learn::score::{confusion, mean_and_deviation, precision_and_recall},
    place,
    report::{self, sheet},
};

/// Mistakes that are shown.
const MISTAKES: usize = 20;
const MISTAKES_A_ROW: usize = 5;

/// Writes all files of the report into a folder.
pub(super) fn write(outcome: &Outcome<'_>, folder: &Path) -> Result<()> {
    place::create_folder(folder)?;
    let at = |name: &str| -> PathBuf { folder.join(name) };
    let first: Vec<RgbImage> = outcome.images.iter().take(9).map(sheet::tile).collect();
    sheet::write(&at("first-training-images.png"), &first, 3)?;
    sheet::write(&at("first-test-image.png"), &[sheet::tile(outcome.first_test_image)], 1)?;
    let wrong = mistakes(&outcome.answers);
    let shown = wrong.iter().take(MISTAKES).map(|answer| &outcome.images[answer.image]);
    let shown: Vec<RgbImage> = shown.map(sheet::tile).collect();
    if !shown.is_empty() {
        sheet::write(&at("mistakes.png"), &shown, MISTAKES_A_ROW)?;
    }
    plots::learning_curves(&at("learning-curves.svg"), &outcome.folds).context("cannot draw")?;
    plots::box_plot(&at("accuracy.svg"), &outcome.folds).context("cannot draw")?;
    let pairs = outcome.answers.iter().map(|answer| (answer.label, answer.class));
    let matrix = confusion(pairs, outcome.classes.len());
    plots::confusion(&at("confusion.svg"), &matrix, outcome.classes).context("cannot draw")?;

    let json = serde_json::json!({
        "command": outcome.command,
        "last_epoch": summary(&outcome.folds, Fold::last),
        "best_epoch": summary(&outcome.folds, Fold::best),
        "folds": outcome.folds,
        "confusion": matrix,
    });
    report::write(folder, &json, &markdown(outcome, &matrix))
}

fn summary(folds: &[Fold], accuracy: fn(&Fold) -> f64) -> serde_json::Value {
    let values = percents(folds, accuracy);
    let (mean, deviation) = mean_and_deviation(&values);
    serde_json::json!({ "percent": values, "mean": mean, "deviation": deviation })
}

fn markdown(outcome: &Outcome<'_>, matrix: &[Vec<usize>]) -> String {
    let wrong = mistakes(&outcome.answers);
    let (class, probability) = outcome.first_test_answer;
    format!(
        "# {}

```sh
{}
```

Accuracy in percent on the images that a network was trained without; the
deviation is the population's.

{}
![Loss and accuracy by epoch, a line for each fold](learning-curves.svg)

![The folds' accuracies at the last and the best epoch](accuracy.svg)

## Classes

{}
![How often each class was taken for each other](confusion.svg)

## The most confident of {} mistakes

{}
## Data

The first nine training images:

![Nine training images](first-training-images.png)

The first test image, which the last fold's network takes for: {}
({:.2} %).

![The first test image](first-test-image.png)
",
        outcome.title,
        outcome.command,
        folds(&outcome.folds),
        classes(outcome, matrix),
        wrong.len(),
        if wrong.is_empty() { String::new() } else { shown(outcome, &wrong) },
        outcome.classes[class],
        100.0 * probability
    )
}

fn folds(folds: &[Fold]) -> Table {
    let mut table = Table::new(&["fold", "last epoch", "best epoch"], &[0]);
    for (number, fold) in (1..).zip(folds) {
        let [last, best] = [fold.last(), fold.best()].map(|a| format!("{:.3}", 100.0 * a));
        table.row(&[&format!("{number}"), &last, &best]);
    }
    let of = |accuracy: fn(&Fold) -> f64| {
        let (mean, deviation) = mean_and_deviation(&percents(folds, accuracy));
        format!("{mean:.3} ± {deviation:.3}")
    };
    table.row(&["mean", &of(Fold::last), &of(Fold::best)]);
    table
}

fn classes(outcome: &Outcome<'_>, matrix: &[Vec<usize>]) -> Table {
    let mut table = Table::new(&["class", "precision", "recall", "images"], &[0]);
    for (class, name) in outcome.classes.iter().enumerate() {
        let (precision, recall, images) = precision_and_recall(matrix, class);
        let [precision, recall] = [precision, recall].map(|percent| format!("{percent:.2} %"));
        table.row(&[name, &precision, &recall, &images.to_string()]);
    }
    table
}

/// The first mistakes, as pictures and as words.
fn shown(outcome: &Outcome<'_>, wrong: &[&Answer]) -> String {
    let mut table = Table::new(&["training image", "label", "answer", "probability"], &[1, 2]);
    for answer in wrong.iter().take(MISTAKES) {
        let (label, class) = (&outcome.classes[answer.label], &outcome.classes[answer.class]);
        let percent = format!("{:.2} %", 100.0 * answer.probability);
        table.row(&[&answer.image.to_string(), label, class, &percent]);
    }
    format!("![The images of the table below, row by row](mistakes.png)\n\n{table}")
}
