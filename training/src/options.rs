//! The part of a recipe that the command line may change.

use std::{io, num::NonZeroUsize, thread};

use anyhow::{Context, Result, ensure};
use fmnist_core::{Classifier, model::Architecture};

use crate::{
    objective::Teacher,
    recipe::{Optimiser, Recipe},
};

/// Changes of a model's recipe.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Recipe, by default the model's own")]
pub(crate) struct RecipeArguments {
    /// Passes over the training images
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Images of one step
    #[arg(long)]
    batch: Option<usize>,
    /// How a gradient becomes a step: warm-up and cosine with both
    #[arg(long, value_enum)]
    optimiser: Option<OptimiserName>,
    /// The highest learning rate
    #[arg(long)]
    rate: Option<f64>,
    /// Weight decay
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Share of the last layer's inputs that are dropped
    #[arg(long)]
    dropout: Option<f64>,
    /// Probability that a rectangle of an image is erased
    #[arg(long, value_name = "PROBABILITY")]
    erasing: Option<f64>,
    /// Mix images in pairs, by shares from Beta(ALPHA, ALPHA)
    #[arg(long, value_name = "ALPHA")]
    mixup: Option<f64>,
    /// Share of every label that is spread over all classes
    #[arg(long, value_name = "SHARE")]
    smoothing: Option<f32>,
}

/// What decides a run beside its recipe.
#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Cores to train on; with the seed, their number decides the result [default: all]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Leave all to Burn's autodiff; slower where the fast engine could compute convolutions and
    /// their gradients
    #[arg(long)]
    pub(crate) burn: bool,
}

impl RunArguments {
    pub(crate) fn threads(&self) -> io::Result<NonZeroUsize> {
        self.threads.map_or_else(thread::available_parallelism, Ok)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OptimiserName {
    /// AdamW
    Adamw,
    /// SGD with Nesterov's momentum
    Nesterov,
}

impl RecipeArguments {
    /// The recipe of a network with these changes.
    pub(crate) fn recipe(&self, architecture: Architecture) -> Result<Recipe> {
        let mut recipe = Recipe::of(architecture);
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.batch = self.batch.unwrap_or(recipe.batch);
        recipe.dropout = self.dropout.unwrap_or(recipe.dropout);
        recipe.label_smoothing = self.smoothing.unwrap_or(recipe.label_smoothing);
        recipe.augmentation.erasing = self.erasing.unwrap_or(recipe.augmentation.erasing);
        recipe.augmentation.mixup = self.mixup.unwrap_or(recipe.augmentation.mixup);
        recipe.optimiser = self.optimiser(recipe.optimiser)?;

        let share = |name: &str, value: f64| {
            ensure!((0.0..1.0).contains(&value), "{name} must be at least 0.0 and below 1.0");
            Ok(())
        };
        ensure!(recipe.epochs > 0 && recipe.batch > 0, "--epochs and --batch must be at least 1");
        share("--dropout", recipe.dropout)?;
        share("--erasing", recipe.augmentation.erasing)?;
        share("--smoothing", recipe.label_smoothing.into())?;
        let mixup = recipe.augmentation.mixup;
        ensure!(mixup.is_finite() && mixup >= 0.0, "--mixup must be at least 0.0");
        Ok(recipe)
    }

    /// What was given, as it is typed.
    pub(crate) fn typed(&self) -> String {
        let optimiser = self.optimiser.map(|name| match name {
            OptimiserName::Adamw => "adamw".to_owned(),
            OptimiserName::Nesterov => "nesterov".to_owned(),
        });
        let given = [
            ("epochs", self.epochs.map(|v| v.to_string())),
            ("batch", self.batch.map(|v| v.to_string())),
            ("optimiser", optimiser),
            ("rate", self.rate.map(|v| v.to_string())),
            ("weight-decay", self.weight_decay.map(|v| v.to_string())),
            ("dropout", self.dropout.map(|v| v.to_string())),
            ("erasing", self.erasing.map(|v| v.to_string())),
            ("mixup", self.mixup.map(|v| v.to_string())),
            ("smoothing", self.smoothing.map(|v| v.to_string())),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.map(|(name, value)| format!(" --{name} {value}")).collect()
    }

    fn optimiser(&self, default: Optimiser) -> Result<Optimiser> {
        let asked = match self.optimiser {
            Some(OptimiserName::Adamw) => Optimiser::AdamW { peak_rate: 0.006, weight_decay: 0.05 },
            Some(OptimiserName::Nesterov) => {
                Optimiser::Nesterov { peak_rate: 0.1, weight_decay: 5e-4 }
            }
            None => default,
        };
        let rate = |rate: f64| {
            let rate = self.rate.unwrap_or(rate);
            ensure!(rate.is_finite() && rate > 0.0, "--rate must be positive");
            Ok(rate)
        };
        let decay = |decay: f32| self.weight_decay.unwrap_or(decay);
        Ok(match asked {
            Optimiser::AdamW { peak_rate, weight_decay } => {
                Optimiser::AdamW { peak_rate: rate(peak_rate)?, weight_decay: decay(weight_decay) }
            }
            Optimiser::Nesterov { peak_rate, weight_decay } => Optimiser::Nesterov {
                peak_rate: rate(peak_rate)?,
                weight_decay: decay(weight_decay),
            },
            Optimiser::Sgd { rate: notebooks, momentum } => {
                ensure!(
                    self.weight_decay.is_none(),
                    "--weight-decay needs --optimiser adamw or nesterov with this model"
                );
                Optimiser::Sgd { rate: rate(notebooks)?, momentum }
            }
        })
    }
}

/// Whose answers are learnt besides the labels.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Distillation")]
pub(crate) struct TeacherArguments {
    /// A built-in model or a weights file whose answers are learnt, too
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// What both networks' logits are divided by
    #[arg(long, default_value_t = 4.0)]
    temperature: f32,
    /// The teacher's part of the loss
    #[arg(long, default_value_t = 0.9)]
    teacher_weight: f32,
}

impl TeacherArguments {
    /// What was given, as it is typed.
    pub(crate) fn typed(&self) -> String {
        self.teacher.as_ref().map_or_else(String::new, |teacher| {
            let Self { temperature, teacher_weight, .. } = self;
            format!(
                " --teacher {teacher} --temperature {temperature} --teacher-weight {teacher_weight}"
            )
        })
    }

    pub(crate) fn teacher(&self, classes: &[String]) -> Result<Option<Teacher>> {
        let Some(model) = &self.teacher else { return Ok(None) };
        let classifier =
            Classifier::open(model).with_context(|| format!("cannot learn from {model}"))?;
        Teacher::new(classifier, classes, self.temperature, self.teacher_weight).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut RecipeArguments), architecture: Architecture) -> String {
        let mut arguments = RecipeArguments::default();
        change(&mut arguments);
        arguments.recipe(architecture).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_given_is_the_models_own_recipe() {
        let arguments = RecipeArguments::default();
        for architecture in Architecture::ALL {
            let recipe = arguments.recipe(architecture).expect("a recipe");
            assert_eq!(recipe, Recipe::of(architecture));
        }
        assert_eq!(arguments.typed(), "");
    }

    #[test]
    fn what_is_given_replaces_one_part_each() {
        let arguments = RecipeArguments {
            optimiser: Some(OptimiserName::Nesterov),
            weight_decay: Some(0.001),
            smoothing: Some(0.1),
            ..RecipeArguments::default()
        };
        let recipe = arguments.recipe(Architecture::Base).expect("a recipe");
        let optimiser = Optimiser::Nesterov { peak_rate: 0.1, weight_decay: 0.001 };
        let expected = Recipe { optimiser, label_smoothing: 0.1, ..Recipe::of(Architecture::Base) };
        assert_eq!(recipe, expected);
        let typed = " --optimiser nesterov --weight-decay 0.001 --smoothing 0.1";
        assert_eq!(arguments.typed(), typed);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        let base = Architecture::Base;
        assert!(refused(|a| a.epochs = Some(0), base).starts_with("--epochs"));
        assert!(refused(|a| a.dropout = Some(1.0), base).starts_with("--dropout"));
        assert!(refused(|a| a.mixup = Some(-1.0), base).starts_with("--mixup"));
        assert!(refused(|a| a.rate = Some(f64::NAN), base).starts_with("--rate"));
        let notebook = refused(|a| a.weight_decay = Some(0.1), Architecture::Notebook);
        assert!(notebook.starts_with("--weight-decay"), "{notebook}");
    }
}
