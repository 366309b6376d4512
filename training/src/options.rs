//! The part of a recipe that the command line may change.

use std::{io, num::NonZeroUsize, thread};

use anyhow::{Context, Result, ensure};
use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fmnist_core::{Classifier, dataset::Dataset, model::Architecture};

use crate::learn::{
    objective::Teacher,
    recipe::{Flip, Optimiser, Recipe},
    trainer::Setup,
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
    /// Share of the steps in which the rate rises
    #[arg(long, value_name = "SHARE")]
    warm_up: Option<f64>,
    /// Weight decay
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Decay of AdamW's mean of squared gradients
    #[arg(long, value_name = "DECAY")]
    beta2: Option<f32>,
    /// Decay of the average of weights that is kept in the end; 0 for the last weights themselves
    #[arg(long, value_name = "DECAY")]
    average: Option<f64>,
    /// Which images are mirrored
    #[arg(long, value_enum)]
    flip: Option<Flip>,
    /// Turn every other image, by up to so many degrees to either side
    #[arg(long, value_name = "DEGREES")]
    rotation: Option<f64>,
    /// Probability, each, of a contrast of 0.25–1.1, of −20 to +60 in brightness and of noise of σ
    /// 0–45; 0.6 of it that of a small blur
    #[arg(long, value_name = "PROBABILITY")]
    corrupt: Option<f64>,
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

    /// A run by a recipe on some images of the data, without a teacher.
    pub(crate) fn setup<'a>(
        &self,
        recipe: &'a Recipe,
        data: &'a Dataset,
        train: &'a [usize],
    ) -> io::Result<Setup<'a>> {
        let (threads, &Self { seed, burn, .. }) = (self.threads()?, self);
        Ok(Setup { recipe, data, train, seed, threads, burn, teacher: None })
    }
}

/// A network by its name; help and errors list them all.
pub(crate) fn network() -> impl TypedValueParser<Value = Architecture> {
    PossibleValuesParser::new(Architecture::ALL.map(Architecture::name))
        .try_map(|name| name.parse::<Architecture>())
}

/// A choice as it is typed.
pub(crate) fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What is said of a choice where it is defined.
pub(crate) fn meaning(choice: impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
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
        set(&mut recipe.epochs, self.epochs);
        set(&mut recipe.batch, self.batch);
        set(&mut recipe.dropout, self.dropout);
        set(&mut recipe.label_smoothing, self.smoothing);
        set(&mut recipe.augmentation.erasing, self.erasing);
        set(&mut recipe.augmentation.mixup, self.mixup);
        set(&mut recipe.augmentation.flip, self.flip);
        set(&mut recipe.augmentation.rotation, self.rotation);
        set(&mut recipe.augmentation.corrupt, self.corrupt);
        set(&mut recipe.warm_up, self.warm_up);
        if let Some(decay) = self.average {
            recipe.average_decay = (decay != 0.0).then_some(decay);
        }
        recipe.optimiser = self.optimiser(recipe.optimiser)?;

        let share = |name: &str, value: f64| {
            ensure!((0.0..1.0).contains(&value), "{name} must be at least 0.0 and below 1.0");
            Ok(())
        };
        ensure!(recipe.epochs > 0 && recipe.batch > 0, "--epochs and --batch must be at least 1");
        share("--dropout", recipe.dropout)?;
        share("--erasing", recipe.augmentation.erasing)?;
        share("--smoothing", recipe.label_smoothing.into())?;
        share("--warm-up", recipe.warm_up)?;
        share("--average", recipe.average_decay.unwrap_or_default())?;
        share("--corrupt", recipe.augmentation.corrupt)?;
        let rotation = recipe.augmentation.rotation;
        ensure!((0.0..=180.0).contains(&rotation), "--rotation must be 0 to 180 degrees");
        ensure!(
            self.flip.is_none() || recipe.augmentation.move_about,
            "--flip needs another model: {architecture} learns from images as they are"
        );
        ensure!(
            self.warm_up.is_none() || !matches!(recipe.optimiser, Optimiser::Sgd { .. }),
            "--warm-up needs --optimiser adamw or nesterov with this model"
        );
        let mixup = recipe.augmentation.mixup;
        ensure!(mixup.is_finite() && mixup >= 0.0, "--mixup must be at least 0.0");
        Ok(recipe)
    }

    /// What was given, as it is typed.
    pub(crate) fn typed(&self) -> String {
        let given = [
            ("epochs", self.epochs.map(|v| v.to_string())),
            ("batch", self.batch.map(|v| v.to_string())),
            ("optimiser", self.optimiser.map(name)),
            ("rate", self.rate.map(|v| v.to_string())),
            ("warm-up", self.warm_up.map(|v| v.to_string())),
            ("weight-decay", self.weight_decay.map(|v| v.to_string())),
            ("beta2", self.beta2.map(|v| v.to_string())),
            ("average", self.average.map(|v| v.to_string())),
            ("flip", self.flip.map(name)),
            ("rotation", self.rotation.map(|v| v.to_string())),
            ("corrupt", self.corrupt.map(|v| v.to_string())),
            ("dropout", self.dropout.map(|v| v.to_string())),
            ("erasing", self.erasing.map(|v| v.to_string())),
            ("mixup", self.mixup.map(|v| v.to_string())),
            ("smoothing", self.smoothing.map(|v| v.to_string())),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.map(|(name, value)| format!(" --{name} {value}")).collect()
    }

    fn optimiser(&self, default: Optimiser) -> Result<Optimiser> {
        let mut optimiser = match self.optimiser {
            Some(OptimiserName::Adamw) => Optimiser::adam_w(0.006, 0.05),
            Some(OptimiserName::Nesterov) => {
                Optimiser::Nesterov { peak_rate: 0.1, weight_decay: 5e-4 }
            }
            None => default,
        };
        ensure!(
            self.beta2.is_none() || matches!(optimiser, Optimiser::AdamW { .. }),
            "--beta2 needs --optimiser adamw"
        );
        match &mut optimiser {
            Optimiser::AdamW { peak_rate, weight_decay, beta2 } => {
                set(peak_rate, self.rate);
                set(weight_decay, self.weight_decay);
                set(beta2, self.beta2);
                ensure!((0.0..1.0).contains(beta2), "--beta2 must be at least 0.0 and below 1.0");
            }
            Optimiser::Nesterov { peak_rate, weight_decay } => {
                set(peak_rate, self.rate);
                set(weight_decay, self.weight_decay);
            }
            Optimiser::Sgd { rate, .. } => {
                ensure!(
                    self.weight_decay.is_none(),
                    "--weight-decay needs --optimiser adamw or nesterov with this model"
                );
                set(rate, self.rate);
            }
        }
        let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
        ensure!(self.rate.is_none_or(is_rate), "--rate must be positive");
        Ok(optimiser)
    }
}

/// Puts what was given in the place of what a recipe has.
fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
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
            flip: Some(Flip::Alternating),
            average: Some(0.0),
            ..RecipeArguments::default()
        };
        let recipe = arguments.recipe(Architecture::Base).expect("a recipe");
        let optimiser = Optimiser::Nesterov { peak_rate: 0.1, weight_decay: 0.001 };
        let mut expected = Recipe::of(Architecture::Base);
        (expected.optimiser, expected.label_smoothing) = (optimiser, 0.1);
        (expected.augmentation.flip, expected.average_decay) = (Flip::Alternating, None);
        assert_eq!(recipe, expected);
        let typed = " --optimiser nesterov --weight-decay 0.001 --average 0 --flip alternating \
                     --smoothing 0.1";
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
        assert!(refused(|a| a.corrupt = Some(1.0), base).starts_with("--corrupt"));
        assert!(refused(|a| a.rotation = Some(-1.0), base).starts_with("--rotation"));
        assert!(refused(|a| a.beta2 = Some(1.0), base).starts_with("--beta2"));
        for change in [
            |a: &mut RecipeArguments| a.flip = Some(Flip::Random),
            |a: &mut RecipeArguments| a.beta2 = Some(0.9),
            |a: &mut RecipeArguments| a.warm_up = Some(0.1),
        ] {
            let message = refused(change, Architecture::Notebook);
            assert!(message.contains(" needs "), "{message}");
        }
    }
}
