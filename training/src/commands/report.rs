//! All models side by side, and beside what others have published: accuracy against cost.

mod model;
mod plot;
mod published;

use std::path::PathBuf;

use anyhow::{Context, Result};
use fmnist_core::{Classifier, model::Architecture};
use markdown::Table;
use model::Model;
use published::{PUBLISHED, Published};

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
        models.push(Model::of(&classifier)?);
    }
    models.sort_by_key(|model| model.multiply_adds);

    place::create_folder(folder)?;
    plot::draw(&folder.join("accuracy.svg"), &models).context("cannot draw")?;
    let json = serde_json::json!({ "models": models, "published": PUBLISHED });
    report::write(folder, &json, &markdown(&models))?;
    say!("{}report in {}", table(&models), folder.display())
}

/// The models, by cost.
fn table(models: &[Model]) -> Table {
    let heads = ["model", "parameters", "multiply-adds", "test", "calibration error", "held out"];
    let mut table = Table::new(&heads, &[0]);
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{:.2} %", 100.0 * value))
    };
    for model in models {
        table.row(&[
            &format!("{} {}", model.name, model.version),
            &model.parameters.to_string(),
            &format!("{:.2} million", model.multiply_adds as f64 / 1e6),
            &percent(model.score.map(|score| score.accuracy)),
            &percent(model.score.map(|score| score.calibration_error)),
            &percent(model.held_out_accuracy),
        ]);
    }
    table
}

/// What others have reached.
fn published() -> Table {
    let heads = ["model", "parameters", "multiply-adds", "test", "source"];
    let mut table = Table::new(&heads, &[0, 4]);
    for Published { name, parameters, multiply_adds, percent, source } in PUBLISHED {
        let cost = multiply_adds
            .map_or_else(|| "–".to_owned(), |cost| format!("{:.0} million", cost as f64 / 1e6));
        table.row(&[name, &parameters.to_string(), &cost, &format!("{percent:.2} %"), source]);
    }
    table
}

fn markdown(models: &[Model]) -> String {
    let missing = Architecture::ALL.iter().map(|network| network.to_string());
    let missing = missing.filter(|network| Classifier::built_in().all(|name| name != network));
    let open = |name: String| format!("`{name}` has no weights here: its figures are open.\n\n");
    format!(
        "# The models beside published results

```sh
training report
```

Accuracy on the official test set in one forward pass, from what the weights files
carry. Multiply-adds are those of convolutions and dense layers for one image; the
calibration error is over 15 bins.

{}
{}![Accuracy against parameters and against multiply-adds](accuracy.svg)

## Published

Trained from scratch without extra data, as their authors report it.

{}",
        table(models),
        missing.map(open).collect::<String>(),
        published()
    )
}
