//! The model card: what a weights file says of itself, to be read beside it (Mitchell et al. 2019).

use std::fmt::Write as _;

use anyhow::Result;
use fmnist_core::{
    Classifier, ModelIdentity,
    weights::{Baseline, Metadata, Origin, Score},
};

use crate::console::say;

#[derive(clap::Args)]
pub(crate) struct CardArguments {
    /// A built-in model (base, notebook, tiny) or a weights file
    #[arg(long, default_value = "base")]
    model: String,
}

pub(crate) fn run(arguments: &CardArguments) -> Result<()> {
    let classifier = Classifier::open(&arguments.model)?;
    let ModelIdentity { name, sha256, .. } = &**classifier.identity();
    say!("{}", card(name, classifier.metadata(), sha256)?.trim_end())
}

/// The card of a weights file, as Markdown.
pub(crate) fn card(name: &str, metadata: &Metadata, sha256: &str) -> Result<String> {
    let mut text = String::new();
    let Metadata { architecture, version, normalisation, temperature, .. } = metadata;
    writeln!(text, "# {name} {version}\n")?;
    writeln!(text, "Classifies 28×28 grey images, bright on black, one thing each.\n")?;
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| SHA-256 | `{sha256}` |")?;
    if name != architecture {
        writeln!(text, "| network | {architecture} |")?;
    }
    writeln!(text, "| classes | {} |", metadata.classes.join(", "))?;
    writeln!(
        text,
        "| input | (pixel / 255 − {}) / {} |",
        normalisation.mean, normalisation.deviation
    )?;
    writeln!(text, "| temperature | {temperature:.4}, fitted on held-out training images |")?;
    let int8 = if metadata.activations.is_empty() { "not calibrated" } else { "calibrated" };
    writeln!(text, "| engine `int8` | {int8} |")?;
    match &metadata.score {
        Some(Score { accuracy, calibration_error, images }) => {
            let (accuracy, error) = (100.0 * accuracy, 100.0 * calibration_error);
            writeln!(text, "| accuracy | {accuracy:.2} % of {images} test images |")?;
            writeln!(text, "| calibration error | {error:.2} %, 15 bins |")?;
        }
        None => writeln!(text, "| accuracy | not measured |")?,
    }
    if let Some(Origin {
        command,
        held_out,
        held_out_accuracy,
        data_sha256,
        software,
        commit,
        ..
    }) = &metadata.origin
    {
        let accuracy = 100.0 * held_out_accuracy;
        writeln!(text, "| held out | {accuracy:.2} % of {held_out} training images |")?;
        writeln!(text, "| trained by | `{command}` |")?;
        writeln!(text, "| training data | SHA-256 `{data_sha256}` |")?;
        writeln!(text, "| software | {software} |")?;
        if let Some(commit) = commit {
            writeln!(text, "| commit | `{commit}` |")?;
        }
    }
    if let Some(baseline) = &metadata.baseline {
        write_baseline(&mut text, baseline, &metadata.classes)?;
    }
    writeln!(
        text,
        "\nPhotographs have to be prepared first, as `fmnist_core::image` does. What is of none"
    )?;
    writeln!(text, "of these classes gets one of their names all the same.")?;
    Ok(text)
}

/// How a model answers where all is well, in shares of the answers.
fn write_baseline(text: &mut String, baseline: &Baseline, classes: &[String]) -> Result<()> {
    let Baseline { answers, probabilities } = baseline;
    let total: usize = answers.iter().sum();
    let percent = |count: usize| 100.0 * count as f64 / total.max(1) as f64;
    writeln!(text, "\n## How it answers where all is well\n")?;
    writeln!(
        text,
        "On {total} held-out training images: what answers in service are compared with, to"
    )?;
    writeln!(text, "notice that pictures have changed.\n")?;
    writeln!(text, "| answer | share |\n|---|---:|")?;
    for (class, &count) in classes.iter().zip(answers) {
        writeln!(text, "| {class} | {:.2} % |", percent(count))?;
    }
    writeln!(text, "\n| probability of the answer | share |\n|---|---:|")?;
    let width = 1.0 / probabilities.len() as f64;
    for (bin, &count) in probabilities.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (low, high) = (bin as f64 * width, (bin + 1) as f64 * width);
        writeln!(text, "| {low:.2}–{high:.2} | {:.2} % |", percent(count))?;
    }
    Ok(())
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
            assert_eq!(
                found,
                expected.expect("text"),
                "write it anew: training card --model {name}"
            );
        }
    }

    #[test]
    fn a_card_says_how_good_a_model_is_and_how_it_was_made() {
        let classifier = Classifier::open("tiny").expect("a built-in model");
        let text = card("tiny", classifier.metadata(), "abc").expect("text");
        assert!(text.starts_with("# tiny 1.0\n"), "{text}");
        assert!(text.contains("| accuracy | 92.42 % of 10000 test images |"), "{text}");
        let command =
            "| trained by | `training train --model tiny --epochs 60 --seed 1 --threads 2` |";
        assert!(text.contains(command), "{text}");
        assert!(text.contains("On 5000 held-out training images"), "{text}");
        assert!(text.contains("\n| Trouser | 10.02 % |\n"), "{text}");
        let unmeasured = Metadata { score: None, origin: None, ..classifier.metadata().clone() };
        let text = card("shoes", &unmeasured, "abc").expect("text");
        assert!(text.starts_with("# shoes 1.0\n") && text.contains("| network | tiny |"), "{text}");
        assert!(text.contains("| accuracy | not measured |") && !text.contains("trained by"));
    }
}
