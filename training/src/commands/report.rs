//! All models side by side, and beside what others have published: accuracy against cost.

mod cost;
mod model;
mod plot;
mod published;

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Result;
use fmnist_core::{Classifier, model::Architecture};
use model::Model;
use published::PUBLISHED;

use crate::{console::say, place, report};

#[derive(clap::Args)]
pub(crate) struct ReportArguments {
    /// A built-in model or a weights file, several times for several [default: all built-in ones]
    #[arg(long = "model", value_name = "NAME|PATH")]
    models: Vec<String>,
    /// Folder of the report
    #[arg(long, default_value = "training/reports/models")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<()> {
    let folder = &arguments.out;
    place::expect_folder(folder)?;
    let mut names = arguments.models.clone();
    if names.is_empty() {
        names = Classifier::built_in().map(str::to_owned).collect();
    }
    let mut models = Vec::new();
    for name in &names {
        let classifier = Classifier::open(name)?;
        models.push(Model::of(&classifier, classifier.weights())?);
    }
    models.sort_by_key(|model| model.cost.multiply_adds);

    report::create(folder)?;
    plot::draw(&folder.join("accuracy.svg"), &models)?;
    let json = serde_json::json!({ "models": models, "published": PUBLISHED });
    report::write(folder, &json, &markdown(&models)?)?;
    say!("{}report in {}", table(&models)?, folder.display())
}

/// The models, by cost.
fn table(models: &[Model]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "| model | parameters | multiply-adds | test | calibration error | held out |")?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|")?;
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{:.2} %", 100.0 * value))
    };
    for Model { name, version, cost, score, held_out_accuracy, .. } in models {
        let (test, error) =
            (score.map(|score| score.accuracy), score.map(|score| score.calibration_error));
        writeln!(
            text,
            "| {name} {version} | {} | {:.2} million | {} | {} | {} |",
            cost.parameters,
            cost.multiply_adds as f64 / 1e6,
            percent(test),
            percent(error),
            percent(*held_out_accuracy)
        )?;
    }
    Ok(text)
}

fn markdown(models: &[Model]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "# The models beside published results\n\n```sh\ntraining report\n```\n")?;
    writeln!(
        text,
        "Accuracy on the official test set in one forward pass, from what the weights files"
    )?;
    writeln!(
        text,
        "carry. Multiply-adds are those of convolutions and dense layers for one image; the"
    )?;
    writeln!(text, "calibration error is over 15 bins.\n")?;
    writeln!(text, "{}", table(models)?)?;
    for network in Architecture::ALL.iter().map(|network| network.to_string()) {
        if !Classifier::built_in().any(|name| name == network) {
            writeln!(text, "`{network}` has no weights here: its figures are open.\n")?;
        }
    }
    writeln!(text, "![Accuracy against parameters and against multiply-adds](accuracy.svg)\n")?;
    writeln!(
        text,
        "## Published\n\nTrained from scratch without extra data, as their authors report it.\n"
    )?;
    writeln!(
        text,
        "| model | parameters | multiply-adds | test | source |\n|---|---:|---:|---:|---|"
    )?;
    for result in PUBLISHED {
        let cost = result
            .multiply_adds
            .map_or_else(|| "–".to_owned(), |cost| format!("{:.0} million", cost as f64 / 1e6));
        let (name, parameters, percent) = (result.name, result.parameters, result.percent);
        writeln!(text, "| {name} | {parameters} | {cost} | {percent:.2} % | {} |", result.source)?;
    }
    Ok(text)
}
