//! The model card: what a weights file says of itself, to be read beside it (Mitchell et al. 2019).

use anyhow::Result;
use fmnist_core::{
    Classifier, ModelIdentity,
    weights::{Baseline, Metadata, Origin, Score},
};
use markdown::Table;

use crate::{console::say, data::model_help};

#[derive(clap::Args)]
pub(crate) struct CardArguments {
    #[arg(long, default_value = "base", help = model_help())]
    model: String,
}

pub(crate) fn run(arguments: &CardArguments) -> Result<()> {
    let classifier = Classifier::open(&arguments.model)?;
    let ModelIdentity { name, sha256, .. } = &**classifier.identity();
    say!("{}", card(name, classifier.metadata(), sha256).trim_end())
}

/// The card of a weights file, as Markdown.
pub(crate) fn card(name: &str, metadata: &Metadata, sha256: &str) -> String {
    let baseline = metadata.baseline.as_ref();
    format!(
        "# {name} {}

Classifies 28×28 grey images, bright on black, one thing each.

{}{}
Photographs have to be prepared first, as `fmnist_core::image` does. What is of none
of these classes gets one of their names all the same.
",
        metadata.version,
        facts(name, metadata, sha256),
        baseline.map_or_else(String::new, |baseline| answers(baseline, &metadata.classes))
    )
}

/// What it is, what it comes to and where it comes from.
fn facts(name: &str, metadata: &Metadata, sha256: &str) -> Table {
    let Metadata { architecture, normalisation, temperature, .. } = metadata;
    let mut table = Table::new(&["", ""], &[0, 1]);
    let mut fact = |what, text: String| table.row(&[what, &text]);
    fact("SHA-256", format!("`{sha256}`"));
    if name != architecture {
        fact("network", architecture.clone());
    }
    fact("classes", metadata.classes.join(", "));
    fact("input", format!("(pixel / 255 − {}) / {}", normalisation.mean, normalisation.deviation));
    fact("temperature", format!("{temperature:.4}, fitted on held-out training images"));
    let is_calibrated = !metadata.activations.is_empty();
    fact("engine `int8`", if is_calibrated { "calibrated" } else { "not calibrated" }.to_owned());
    match &metadata.score {
        Some(Score { accuracy, calibration_error, images }) => {
            fact("accuracy", format!("{:.2} % of {images} test images", 100.0 * accuracy));
            fact("calibration error", format!("{:.2} %, 15 bins", 100.0 * calibration_error));
        }
        None => fact("accuracy", "not measured".to_owned()),
    }
    if let Some(origin) = &metadata.origin {
        let Origin { command, held_out, data_sha256, software, commit, .. } = origin;
        let accuracy = 100.0 * origin.held_out_accuracy;
        fact("held out", format!("{accuracy:.2} % of {held_out} training images"));
        fact("trained by", format!("`{command}`"));
        fact("training data", format!("SHA-256 `{data_sha256}`"));
        fact("software", software.clone());
        if let Some(commit) = commit {
            fact("commit", format!("`{commit}`"));
        }
    }
    table
}

/// How a model answers where all is well, in shares of the answers.
fn answers(baseline: &Baseline, classes: &[String]) -> String {
    let Baseline { answers, probabilities } = baseline;
    let total: usize = answers.iter().sum();
    let percent = |count: usize| format!("{:.2} %", 100.0 * count as f64 / total.max(1) as f64);
    let mut shares = Table::new(&["answer", "share"], &[0]);
    for (class, &count) in classes.iter().zip(answers) {
        shares.row(&[class, &percent(count)]);
    }
    let mut sure = Table::new(&["probability of the answer", "share"], &[0]);
    let width = 1.0 / probabilities.len() as f64;
    for (bin, &count) in probabilities.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (low, high) = (bin as f64 * width, (bin + 1) as f64 * width);
        sure.row(&[&format!("{low:.2}–{high:.2}"), &percent(count)]);
    }
    format!(
        "
## How it answers where all is well

On {total} held-out training images: what answers in service are compared with, to
notice that pictures have changed.

{shares}
{sure}"
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_shipped_weights_have_their_cards_beside_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fmnist-core/weights");
        for name in Classifier::built_in() {
            let classifier = Classifier::open(name).expect("a built-in model");
            let expected = card(name, classifier.metadata(), &classifier.identity().sha256);
            let found = fs::read_to_string(folder.join(name).with_extension("md")).expect("a card");
            assert_eq!(found, expected, "write it anew: training card --model {name}");
        }
    }

    #[test]
    fn a_card_says_how_good_a_model_is_and_how_it_was_made() {
        let classifier = Classifier::open("tiny").expect("a built-in model");
        let text = card("tiny", classifier.metadata(), "abc");
        assert!(text.starts_with("# tiny 1.0\n"), "{text}");
        assert!(text.contains("| accuracy | 92.42 % of 10000 test images |"), "{text}");
        let command =
            "| trained by | `training train --model tiny --epochs 60 --seed 1 --threads 2` |";
        assert!(text.contains(command), "{text}");
        assert!(text.contains("On 5000 held-out training images"), "{text}");
        assert!(text.contains("\n| Trouser | 10.02 % |\n"), "{text}");
        let unmeasured = Metadata { score: None, origin: None, ..classifier.metadata().clone() };
        let text = card("shoes", &unmeasured, "abc");
        assert!(text.starts_with("# shoes 1.0\n") && text.contains("| network | tiny |"), "{text}");
        assert!(text.contains("| accuracy | not measured |") && !text.contains("trained by"));
    }
}
