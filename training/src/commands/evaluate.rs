//! How good a weights file is on the test set.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use fmnist_core::{Classifier, Prediction, dataset::Dataset, weights::Score};

use crate::{
    console::say,
    data::JudgedArguments,
    learn::score::{calibration_error, confusion, precision_and_recall},
};

pub(crate) fn run(arguments: &JudgedArguments) -> Result<()> {
    let (classifier, test) = arguments.open()?;
    let (score, predictions) = judge(&classifier, &test)?;
    let flipped = flip_averaged(&classifier, &test)?;
    say!("{}", report(&classifier, &test, score, flipped, &predictions)?.trim_end())
}

fn report(
    classifier: &Classifier,
    test: &Dataset,
    score: Score,
    flip_averaged: f64,
    predictions: &[Prediction],
) -> Result<String> {
    let mut text = String::new();
    let identity = classifier.identity();
    writeln!(text, "accuracy {:.2} %", 100.0 * score.accuracy)?;
    writeln!(text, "accuracy {:.2} % averaged with the mirrored image", 100.0 * flip_averaged)?;
    writeln!(text, "calibration error {:.2} % (15 bins)", 100.0 * score.calibration_error)?;
    writeln!(text, "images {}", score.images)?;
    writeln!(text, "model {identity} {}", identity.sha256)?;
    writeln!(text, "engine {}", classifier.engine())?;
    let width = classifier.labels().iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let width = width.max(12);
    writeln!(text, "\n{:<width$} {:>9} {:>9} {:>7}", "class", "precision", "recall", "images")?;
    let labels = test.labels.iter().map(|&label| usize::from(label));
    let pairs = labels.zip(predictions.iter().map(|prediction| prediction.class));
    let matrix = confusion(pairs, classifier.labels().len());
    for (class, label) in classifier.labels().iter().enumerate() {
        let (precision, recall, images) = precision_and_recall(&matrix, class);
        writeln!(text, "{label:<width$} {precision:>7.2} % {recall:>7.2} % {images:>7}")?;
    }
    Ok(text)
}

/// Classifies every image of `test` and compares.
pub(crate) fn judge(classifier: &Classifier, test: &Dataset) -> Result<(Score, Vec<Prediction>)> {
    ensure!(!test.images.is_empty(), "{}: expected images to judge by, found none", test.origin);
    let predictions = classifier.classify(&test.images)?;
    let answers: Vec<(f32, bool)> = predictions
        .iter()
        .zip(test.labels.iter())
        .map(|(p, &label)| (p.probability(), p.class == usize::from(label)))
        .collect();
    let right = answers.iter().filter(|(_, right)| *right).count();
    let score = Score {
        accuracy: right as f64 / answers.len() as f64,
        calibration_error: calibration_error(&answers),
        images: answers.len(),
    };
    Ok((score, predictions))
}

/// The share of right answers, 0.0–1.0, averaged with those of the mirror images.
pub(crate) fn flip_averaged(classifier: &Classifier, test: &Dataset) -> Result<f64> {
    let (score, _) = judge(&classifier.clone().with_flip_average(true), test)?;
    Ok(score.accuracy)
}

#[cfg(test)]
mod tests {
    use fmnist_core::{
        Image,
        dataset::{Split, synthetic},
    };

    use super::*;

    #[test]
    fn averaging_turns_an_answer_that_the_mirror_image_is_surer_of() {
        let classifier = Classifier::pretrained().expect("the default model");
        let data = synthetic(Split::Test, 60, 1);
        let mirrored: Vec<Image> = data.images.iter().map(Image::mirrored).collect();
        let (plain, mirrored) = (
            classifier.classify(&data.images).expect("a"),
            classifier.classify(&mirrored).expect("b"),
        );
        let surer = |(a, b): (&Prediction, &Prediction)| {
            if a.probability() > b.probability() { a.class } else { b.class }
        };
        let expected: Vec<u8> = plain.iter().zip(&mirrored).map(|pair| surer(pair) as u8).collect();
        let labelled = Dataset { labels: expected.into(), ..data };
        let (score, _) = judge(&classifier, &labelled).expect("judged");
        let averaged = flip_averaged(&classifier, &labelled).expect("judged");
        assert!(averaged >= score.accuracy && averaged > 0.9, "{averaged}, {score:?}");
    }
}
