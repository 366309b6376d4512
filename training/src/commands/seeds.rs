//! Runs that differ in their seed alone: what to expect of a recipe, and which run to ship.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fmnist_core::{
    Classifier,
    dataset::Dataset,
    weights::{Origin, Score},
};
use markdown::Table;

use crate::{
    commands::evaluate::{flip_averaged, judge},
    console::say,
    data::{self, HELP},
    learn::score::mean_and_deviation,
    place, report,
};

#[derive(clap::Args)]
pub(crate) struct SeedsArguments {
    /// Weights files that `train` wrote, with another seed each
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    runs: Vec<String>,
    #[arg(long, value_name = "DIR", help = HELP)]
    data: Option<PathBuf>,
    /// Folder of the report [default: training/reports/seeds-MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What became of one seed. Accuracies are 0.0–1.0.
#[derive(Debug, serde::Serialize)]
struct Run {
    seed: u64,
    held_out_accuracy: f64,
    /// On the test set, in one forward pass.
    #[serde(flatten)]
    score: Score,
    /// On the test set, averaged with the mirrored image.
    flip_averaged: f64,
    sha256: String,
    command: String,
}

/// A figure of a run, in percent, by the name that reports give it.
type Figure = (&'static str, fn(&Run) -> f64);

const FIGURES: [Figure; 4] = [
    ("held out", |run| 100.0 * run.held_out_accuracy),
    ("test", |run| 100.0 * run.score.accuracy),
    ("averaged with the mirrored image", |run| 100.0 * run.flip_averaged),
    ("calibration error", |run| 100.0 * run.score.calibration_error),
];

pub(crate) fn run(arguments: &SeedsArguments) -> Result<()> {
    let classifiers = arguments.runs.iter().map(|path| Classifier::open(path));
    let classifiers = classifiers.collect::<Result<Vec<_>, _>>()?;
    let origins = origins(&classifiers)?;
    let model = &classifiers[0].metadata().architecture;
    let folder = report::folder(arguments.out.as_deref(), format!("seeds-{model}"))?;
    let test = data::open_test(arguments.data.as_deref(), &classifiers[0])?;
    let runs = classifiers.iter().zip(&origins).map(|(c, origin)| Run::of(c, origin, &test));
    let runs = runs.collect::<Result<Vec<_>>>()?;

    write(&folder, model, origins[0], &runs)?;
    say!("{}to ship: seed {}\nreport in {}", table(&runs), best(&runs).seed, folder.display())
}

/// Where the runs come from, after making sure that model, epochs, batch and data are the same and the
/// seeds are not. Of the rest of a recipe a file has only the command line, which the report shows.
fn origins(classifiers: &[Classifier]) -> Result<Vec<&Origin>> {
    let recipe = |classifier: &Classifier, origin: &Origin| {
        let name = &classifier.metadata().architecture;
        let Origin { epochs, batch, data_sha256, .. } = origin;
        format!("{name}, {epochs} epochs, batch {batch}, data {data_sha256}")
    };
    let mut origins: Vec<&Origin> = Vec::new();
    for classifier in classifiers {
        let origin = classifier.weights().metadata.origin.as_ref();
        let origin = origin.with_context(|| {
            let identity = classifier.identity();
            format!("{} {}: does not say how it was trained", identity.name, identity.sha256)
        })?;
        if let Some(first) = origins.first() {
            let (wanted, found) = (recipe(&classifiers[0], first), recipe(classifier, origin));
            ensure!(wanted == found, "expected runs of one recipe, {wanted}, found {found}");
        }
        let twice = origins.iter().any(|other| other.seed == origin.seed);
        ensure!(!twice, "expected runs of different seeds, found seed {} twice", origin.seed);
        origins.push(origin);
    }
    Ok(origins)
}

impl Run {
    fn of(classifier: &Classifier, origin: &Origin, test: &Dataset) -> Result<Self> {
        let (score, _) = judge(classifier, test)?;
        Ok(Self {
            seed: origin.seed,
            held_out_accuracy: origin.held_out_accuracy,
            score,
            flip_averaged: flip_averaged(classifier, test)?,
            sha256: classifier.identity().sha256.clone(),
            command: origin.command.clone(),
        })
    }
}

/// The one that did best on held-out images, which is not the test set's choice.
fn best(runs: &[Run]) -> &Run {
    let by_held_out = |a: &&Run, b: &&Run| a.held_out_accuracy.total_cmp(&b.held_out_accuracy);
    runs.iter().rev().max_by(by_held_out).expect("two runs or more")
}

fn write(folder: &Path, model: &str, origin: &Origin, runs: &[Run]) -> Result<()> {
    let summary = FIGURES.map(|(name, figure)| {
        let (mean, deviation) = spread(runs, figure);
        serde_json::json!({ "name": name, "mean": mean, "deviation": deviation })
    });
    let Origin { epochs, batch, data_sha256, .. } = origin;
    let json = serde_json::json!({
        "model": model, "epochs": epochs, "batch": batch, "data_sha256": data_sha256,
        "runs": runs, "percent": summary, "best_held_out": best(runs).seed,
    });
    place::create_folder(folder)?;
    report::write(folder, &json, &markdown(model, runs))
}

/// Mean and population standard deviation over the runs.
fn spread(runs: &[Run], figure: fn(&Run) -> f64) -> (f64, f64) {
    mean_and_deviation(&runs.iter().map(figure).collect::<Vec<_>>())
}

fn markdown(model: &str, runs: &[Run]) -> String {
    let file = |run: &Run| format!("{model}-{}.safetensors", run.seed);
    let trained = runs.iter().map(|run| format!("{} --out {}\n", run.command, file(run)));
    let compared = runs.iter().map(|run| format!(" {}", file(run)));
    format!(
        "# `{model}`, {} seeds

```sh
{}training seeds{}
```

{}
Accuracy and calibration error (15 bins) of the test set in one forward pass;
averaged with the mirrored image at twice the cost. Below, mean and population
standard deviation. Seed {} did best on held-out images.
",
        runs.len(),
        trained.collect::<String>(),
        compared.collect::<String>(),
        table(runs),
        best(runs).seed
    )
}

fn table(runs: &[Run]) -> Table {
    let names = FIGURES.map(|(name, _)| name);
    let mut table = Table::new(&[&["seed"], &names[..]].concat(), &[0]);
    let mut row = |name: &str, figures: [String; FIGURES.len()]| {
        table.row(&[&[name], &figures.each_ref().map(String::as_str)[..]].concat());
    };
    for run in runs {
        row(&run.seed.to_string(), FIGURES.map(|(_, figure)| format!("{:.2} %", figure(run))));
    }
    let spreads = FIGURES.map(|(_, figure)| spread(runs, figure));
    row("mean", spreads.map(|(mean, deviation)| format!("{mean:.2} ± {deviation:.2} %")));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, held_out_accuracy: f64, accuracy: f64) -> Run {
        let score = Score { accuracy, calibration_error: 0.004, images: 100 };
        let (sha256, command) = (format!("{seed:064}"), "training train".to_owned());
        Run { seed, held_out_accuracy, score, flip_averaged: accuracy, sha256, command }
    }

    #[test]
    fn held_out_images_choose_and_the_test_set_does_not() {
        let runs = [run(1, 0.92, 0.93), run(2, 0.94, 0.91), run(3, 0.94, 0.92)];
        assert_eq!(best(&runs).seed, 2);
        let table = table(&runs).to_string();
        assert!(
            table.ends_with(
                "| mean | 93.33 ± 0.94 % | 92.00 ± 0.82 % | 92.00 ± 0.82 % | 0.40 ± 0.00 % |\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn runs_that_differ_in_more_or_in_nothing_are_refused() {
        let open = |name: &str| Classifier::open(name).expect("built in");
        let refused =
            |names: [&str; 2]| origins(&names.map(open)).expect_err("refused").to_string();
        let message = refused(["base", "base"]);
        assert_eq!(message, "expected runs of different seeds, found seed 1 twice");
        let message = refused(["base", "notebook"]);
        assert!(message.starts_with("expected runs of one recipe, base, "), "{message}");
    }
}
