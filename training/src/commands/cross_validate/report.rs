//! The report: Markdown to read, JSON to compute with, and the pictures beside them.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use image::RgbImage;

use super::{
    outcome::{Fold, Outcome, confusion, mistakes},
    plots,
};
use crate::{
    learn::score::mean_and_deviation,
    report::{self, sheet},
};

/// Mistakes that are shown.
const MISTAKES: usize = 20;
const MISTAKES_A_ROW: usize = 5;

/// Writes all files of the report into a folder.
pub(super) fn write(outcome: &Outcome<'_>, folder: &Path) -> Result<()> {
    report::create(folder)?;
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
    plots::learning_curves(&at("learning-curves.svg"), &outcome.folds)?;
    plots::box_plot(&at("accuracy.svg"), &outcome.folds)?;
    let matrix = confusion(&outcome.answers, outcome.classes.len());
    plots::confusion(&at("confusion.svg"), &matrix, outcome.classes)?;

    let json = serde_json::json!({
        "command": outcome.command,
        "last_epoch": summary(&outcome.folds, Fold::last),
        "best_epoch": summary(&outcome.folds, Fold::best),
        "folds": outcome.folds,
        "confusion": matrix,
    });
    report::write(folder, &json, &markdown(outcome, &matrix)?)
}

fn summary(folds: &[Fold], accuracy: fn(&Fold) -> f64) -> serde_json::Value {
    let values: Vec<f64> = folds.iter().map(|fold| 100.0 * accuracy(fold)).collect();
    let (mean, deviation) = mean_and_deviation(&values);
    serde_json::json!({ "percent": values, "mean": mean, "deviation": deviation })
}

fn markdown(outcome: &Outcome<'_>, matrix: &[Vec<usize>]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "# {}\n\n```sh\n{}\n```\n", outcome.title, outcome.command)?;
    writeln!(text, "Accuracy in percent on the images that a network was trained without; the")?;
    writeln!(text, "deviation is the population's.\n")?;
    writeln!(text, "| fold | last epoch | best epoch |\n|---|---:|---:|")?;
    for (number, fold) in outcome.folds.iter().enumerate() {
        let (last, best) = (100.0 * fold.last(), 100.0 * fold.best());
        writeln!(text, "| {} | {last:.3} | {best:.3} |", number + 1)?;
    }
    let of = |accuracy: fn(&Fold) -> f64| {
        let values: Vec<f64> = outcome.folds.iter().map(|fold| 100.0 * accuracy(fold)).collect();
        let (mean, deviation) = mean_and_deviation(&values);
        format!("{mean:.3} ± {deviation:.3}")
    };
    writeln!(text, "| mean | {} | {} |\n", of(Fold::last), of(Fold::best))?;
    writeln!(text, "![Loss and accuracy by epoch, a line for each fold](learning-curves.svg)\n")?;
    writeln!(text, "![The folds' accuracies at the last and the best epoch](accuracy.svg)\n")?;

    writeln!(text, "## Classes\n\n| class | precision | recall | images |\n|---|---:|---:|---:|")?;
    for (class, name) in outcome.classes.iter().enumerate() {
        let answered: usize = matrix.iter().map(|row| row[class]).sum();
        let images: usize = matrix[class].iter().sum();
        let percent = |of: usize| 100.0 * matrix[class][class] as f64 / of.max(1) as f64;
        let (precision, recall) = (percent(answered), percent(images));
        writeln!(text, "| {name} | {precision:.2} % | {recall:.2} % | {images} |")?;
    }
    writeln!(text, "\n![How often each class was taken for each other](confusion.svg)\n")?;

    let wrong = mistakes(&outcome.answers);
    writeln!(text, "## The most confident of {} mistakes\n", wrong.len())?;
    if !wrong.is_empty() {
        writeln!(text, "![The images of the table below, row by row](mistakes.png)\n")?;
        writeln!(text, "| training image | label | answer | probability |\n|---:|---|---|---:|")?;
        for answer in wrong.iter().take(MISTAKES) {
            let (label, class) = (&outcome.classes[answer.label], &outcome.classes[answer.class]);
            let percent = 100.0 * answer.probability;
            writeln!(text, "| {} | {label} | {class} | {percent:.2} % |", answer.image)?;
        }
    }
    let (class, probability) = outcome.first_test_answer;
    writeln!(text, "\n## Data\n\nThe first nine training images:\n")?;
    writeln!(text, "![Nine training images](first-training-images.png)\n")?;
    let percent = 100.0 * probability;
    writeln!(
        text,
        "The first test image, which the last fold's network takes for: {}",
        outcome.classes[class]
    )?;
    writeln!(text, "({percent:.2} %).\n\n![The first test image](first-test-image.png)")?;
    Ok(text)
}
