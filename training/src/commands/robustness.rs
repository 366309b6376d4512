//! How a model does on images that are not as good as those of the test set.

mod composite;
mod pages;

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use composite::Ground;
use fmnist_core::{Classifier, Image, dataset::Dataset, image::decode_upload};
use image::{RgbImage, codecs::jpeg::JpegEncoder};
use pages::{Composites, Outcome};
use rayon::prelude::*;

use crate::{
    console::say,
    data::JudgedArguments,
    learn::{
        corrupt::{Corruption, SEVERITIES},
        sampling::{self, Stream},
    },
    report,
};

#[derive(clap::Args)]
pub(crate) struct RobustnessArguments {
    #[command(flatten)]
    judged: JudgedArguments,
    /// Composites for each kind of ground
    #[arg(long, default_value = "200")]
    composites: NonZeroUsize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the report [default: training/reports/robustness-MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &RobustnessArguments) -> Result<()> {
    let (classifier, test) = arguments.judged.open()?;
    let identity = classifier.identity();
    let kind = format!("robustness-{}", identity.name);
    let folder = report::folder(arguments.out.as_deref(), kind)?;
    let count = arguments.composites.get();
    let outcome = Outcome {
        model: format!("{identity} ({})", &identity.sha256[..12]),
        command: format!(
            "training robustness --model {} --engine {} --composites {count} --seed {}",
            arguments.judged.model, arguments.judged.engine, arguments.seed
        ),
        images: test.images.len(),
        clean: accuracy(&classifier, &test.images, &test.labels)?,
        corruptions: corruptions(&classifier, &test, arguments.seed)?,
        composites: Photographs::take(&test, count, arguments.seed)?.judge(&classifier)?,
    };
    pages::write(&outcome, &folder)?;
    say!("{}report in {}", pages::console(&outcome)?, folder.display())
}

/// The share of right answers, 0.0–1.0.
fn accuracy(classifier: &Classifier, images: &[Image], labels: &[u8]) -> Result<f64> {
    let predictions = classifier.classify(images)?;
    let right = predictions.iter().zip(labels).filter(|(p, label)| p.class == usize::from(**label));
    Ok(right.count() as f64 / labels.len() as f64)
}

fn corruptions(
    classifier: &Classifier,
    test: &Dataset,
    seed: u64,
) -> Result<Vec<(Corruption, [f64; SEVERITIES])>> {
    let judge = |(kind, corruption): (usize, Corruption)| {
        let mut accuracies = [0.0; SEVERITIES];
        for (severity, amount) in corruption.amounts().1.into_iter().enumerate() {
            let images: Vec<Image> = (0..test.images.len())
                .into_par_iter()
                .map(|index| {
                    let position = ((kind * SEVERITIES + severity) << 32) | index;
                    let mut random = sampling::generator(seed, Stream::Corruption, position);
                    corruption.apply(&test.images[index], amount, &mut random)
                })
                .collect();
            accuracies[severity] = accuracy(classifier, &images, &test.labels)?;
        }
        Ok((corruption, accuracies))
    };
    Corruption::value_variants().iter().copied().enumerate().map(judge).collect()
}

/// The same garments on every kind of ground.
struct Photographs {
    labels: Vec<u8>,
    garments: Vec<Image>,
    grounds: Vec<Photographed>,
}

/// Those on one kind of ground: all of them prepared, and the first as they were before as well.
struct Photographed {
    ground: Ground,
    prepared: Vec<Image>,
    shown: Vec<(RgbImage, Image)>,
}

impl Photographs {
    /// Composes them, and sends them through a JPEG file as a camera writes it.
    fn take(test: &Dataset, count: usize, seed: u64) -> Result<Self> {
        const SHOWN: usize = 8;
        let all = Vec::from_iter(0..test.images.len());
        let chosen = &sampling::order(seed, 0, &all)[..count.min(all.len())];
        let labels = chosen.iter().map(|&index| test.labels[index]).collect();
        let garments: Vec<Image> = chosen.iter().map(|&index| test.images[index].clone()).collect();
        let photograph = |(kind, ground): (usize, Ground)| {
            let take = |(index, garment): (usize, &Image)| {
                let position = (kind << 32) | index;
                let mut random = sampling::generator(seed, Stream::Composite, position);
                let picture = ground.compose(garment, &mut random);
                let prepared = decode_upload(&jpeg(&picture)?).context("a JPEG of our own")?;
                Ok(((index < SHOWN).then(|| (picture, prepared.clone())), prepared))
            };
            let taken: Vec<_> = garments.par_iter().enumerate().map(take).collect::<Result<_>>()?;
            let (shown, prepared): (Vec<_>, _) = taken.into_iter().unzip();
            Ok(Photographed { ground, prepared, shown: shown.into_iter().flatten().collect() })
        };
        let kinds = Ground::value_variants().iter().copied().enumerate();
        let grounds = kinds.map(photograph).collect::<Result<_>>()?;
        Ok(Self { labels, garments, grounds })
    }

    /// What a model makes of them.
    fn judge(&self, classifier: &Classifier) -> Result<Vec<Composites>> {
        let clean = accuracy(classifier, &self.garments, &self.labels)?;
        let judge = |photographed: &Photographed| {
            let Photographed { ground, prepared, shown } = photographed;
            let accuracy = accuracy(classifier, prepared, &self.labels)?;
            Ok(Composites { ground: *ground, clean, accuracy, shown: shown.clone() })
        };
        self.grounds.iter().map(judge).collect()
    }
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(picture)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use fmnist_core::dataset::{self, Split};

    use super::*;
    use crate::options::name;

    #[test]
    fn with_the_official_files_composites_of_every_ground_stay_within_the_goal() {
        if std::env::var_os("FMNIST_DATA").is_none() {
            println!("skipped: no official files (set FMNIST_DATA)");
            return;
        }
        let test = dataset::open(None, Split::Test).expect("FMNIST_DATA has the official files");
        let photographs = Photographs::take(&test, 200, 1).expect("composed");
        for model in Classifier::built_in() {
            let classifier = Classifier::open(model).expect("a built-in model");
            for composites in photographs.judge(&classifier).expect("judged") {
                let (ground, lost) = (name(composites.ground), composites.lost_points());
                println!("{model} on {ground}: {lost:.1} points lost");
                let goal = composites.ground.goal_points();
                assert!(lost <= goal, "{model} on {ground}: {lost:.1} points lost of {goal}");
            }
        }
    }
}
