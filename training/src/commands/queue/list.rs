//! What is to be trained.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use fmnist_core::text;

use crate::commands::train::TrainArguments;

/// One recipe with one seed.
pub(super) struct Run {
    pub(super) recipe: String,
    pub(super) seed: u64,
    /// The options of the list, as they were typed there.
    pub(super) train: String,
    pub(super) arguments: TrainArguments,
}

impl Run {
    /// What its files are called.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.recipe, self.seed)
    }

    /// Held by the process that works on it.
    pub(super) fn lock(&self, place: &Path) -> PathBuf {
        place.join(format!("{}.lock", self.name()))
    }

    /// Where its checkpoints lie.
    pub(super) fn checkpoints(&self, place: &Path) -> PathBuf {
        place.join(self.name())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    recipe: String,
    seeds: Vec<u64>,
    train: String,
}

#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Options {
    #[command(flatten)]
    train: TrainArguments,
}

/// What the queue itself decides.
const OWN: [&str; 4] = ["--seed", "--out", "--checkpoint-dir", "--resume"];

/// Reads a list and checks every line of it.
pub(super) fn read(file: &Path, data: Option<&Path>) -> Result<Vec<Run>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = text::read(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut runs, mut names) = (Vec::new(), BTreeSet::new());
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let of_line = runs_of(line, data)
            .with_context(|| format!("{}, line {}", file.display(), number + 1))?;
        for run in of_line {
            let (name, number) = (run.name(), number + 1);
            ensure!(names.insert(name), "{}, line {number}: {} twice", file.display(), run.name());
            runs.push(run);
        }
    }
    Ok(runs)
}

fn runs_of(line: &str, data: Option<&Path>) -> Result<Vec<Run>> {
    let Line { recipe, seeds, train } = serde_json::from_str(line)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    ensure!(
        recipe.starts_with(|c: char| c.is_ascii_alphanumeric()) && recipe.chars().all(is_plain),
        "expected a recipe's name of letters, digits, `.`, `_` and `-`, found {recipe:?}"
    );
    ensure!(!seeds.is_empty(), "recipe {recipe}: expected a seed or more");
    let words: Vec<&str> = train.split_whitespace().collect();
    let own = words.iter().find(|word| OWN.contains(&word.split('=').next().unwrap_or_default()));
    if let Some(own) = own {
        bail!("recipe {recipe}: {own} is the queue's own; leave it out");
    }
    let run = |seed| {
        let parsed = Options::try_parse_from(&words).map_err(|error| {
            let text = error.to_string();
            anyhow!("recipe {recipe}: {}", text.lines().next().unwrap_or_default())
        });
        let mut arguments = parsed?.train;
        arguments.recipe.recipe(arguments.model).with_context(|| format!("recipe {recipe}"))?;
        arguments.run.seed = seed;
        arguments.data = arguments.data.or_else(|| data.map(Path::to_owned));
        Ok(Run { recipe: recipe.clone(), seed, train: words.join(" "), arguments })
    };
    seeds.into_iter().map(run).collect()
}
