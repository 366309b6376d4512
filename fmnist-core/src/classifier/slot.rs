//! A classifier that is exchanged for another of the same classes.

use std::{ops::Deref, sync::Arc};

use stream_inference::{
    drift::{Baseline, Drift, Expected, Measures},
    predict::{PredictError, Predictor, Served},
    slot::ModelSlot,
};

use super::{Classifier, Infer, ModelIdentity, Prediction};
use crate::image::Image;

/// A [`Classifier`] that is exchanged while messages run, for one of the same classes: a [`ModelSlot`] that
/// looks at drift, too. Clones are the same slot.
///
/// ```
/// use fmnist_core::{Classifier, ClassifierSlot, Image, predict::Predictor};
///
/// let slot = ClassifierSlot::new(Classifier::open("base")?, &[], 100);
/// slot.swap(Classifier::open("base")?.with_threads(2.try_into()?))?;
/// assert_eq!(slot.serve(&[Image::new([0; Image::PIXELS])])?.model.name, "base");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassifierSlot {
    slot: ModelSlot<Classifier>,
    /// The same of each model that ever serves.
    labels: Arc<[String]>,
}

impl ClassifierSlot {
    /// A slot with this model. A new one is on probation for so many batches. Drift compares answers with
    /// the baseline in the weights file, and images with `usual` ones, such as a test set; without those,
    /// answers alone.
    pub fn new(classifier: Classifier, usual: &[Image], probation: usize) -> Self {
        let labels: Arc<[String]> = classifier.labels().into();
        let images = [mean as fn(&Image) -> f64, spread].map(|of| {
            (!usual.is_empty()).then(|| Expected::of_numbers(usual.iter().map(of).collect()))
        });
        let drift = Drift::new(measures(&labels), move |model| baseline(model, &images));
        let slot = ModelSlot::new(classifier)
            .with_check(same_classes)
            .with_probation(probation)
            .with_drift(drift);
        Self { slot, labels }
    }
}

/// What serves other classes answers another question.
fn same_classes(before: &Classifier, next: &Classifier) -> Result<(), String> {
    if before.labels() == next.labels() {
        return Ok(());
    }
    let listed = |model: &Classifier| model.labels().join(", ");
    Err(format!("expected the classes {}, found {}", listed(before), listed(next)))
}

const LABEL: &str = "label";
const PROBABILITY: &str = "probability";
const MEAN: &str = "mean";
const SPREAD: &str = "spread";

fn measures(labels: &Arc<[String]>) -> Measures<Classifier> {
    let labels = Arc::clone(labels);
    Measures::new()
        .class(LABEL, move |_, answer: &Prediction| labels[answer.class].clone())
        .number(PROBABILITY, |_, answer: &Prediction| answer.probability().into())
        .number(MEAN, |image, _| mean(image))
        .number(SPREAD, |image, _| spread(image))
}

fn baseline(model: &Classifier, [mean, spread]: &[Option<Expected>; 2]) -> Option<Baseline> {
    let known = model.metadata().baseline.as_ref()?;
    let labels = model.labels().iter().cloned();
    let answers = labels.zip(known.answers.iter().map(|count| *count as u64)).collect();
    let bins = known.probabilities.len();
    let probabilities = Expected::Numbers {
        edges: (0..=bins).map(|bin| bin as f64 / bins as f64).collect(),
        counts: known.probabilities.iter().map(|count| *count as u64).collect(),
    };
    let answers = Baseline::default()
        .with(LABEL, Expected::Classes(answers))
        .with(PROBABILITY, probabilities);
    let images = [(MEAN, mean), (SPREAD, spread)];
    Some(images.into_iter().fold(answers, |baseline, (name, expected)| match expected {
        Some(expected) => baseline.with(name, expected.clone()),
        None => baseline,
    }))
}

/// Of an image's pixels, 0.0 to 1.0.
fn mean(image: &Image) -> f64 {
    let sum: u32 = image.pixels().iter().map(|pixel| u32::from(*pixel)).sum();
    f64::from(sum) / (255 * Image::PIXELS) as f64
}

/// The standard deviation of an image's pixels, 0.0 to 0.5; 0.0 of a blank one.
fn spread(image: &Image) -> f64 {
    let (mut sum, mut squares) = (0, 0);
    for pixel in image.pixels().map(u32::from) {
        sum += pixel;
        squares += pixel * pixel;
    }
    let mean = f64::from(sum) / (255 * Image::PIXELS) as f64;
    (f64::from(squares) / (255 * 255 * Image::PIXELS) as f64 - mean * mean).max(0.0).sqrt()
}

impl Deref for ClassifierSlot {
    type Target = ModelSlot<Classifier>;

    fn deref(&self) -> &ModelSlot<Classifier> {
        &self.slot
    }
}

impl Predictor for ClassifierSlot {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, batch: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        self.slot.predict(batch)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.slot.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.slot.warm_up()
    }

    fn serve(&self, batch: &[Image]) -> Result<Served<Prediction>, PredictError> {
        self.slot.serve(batch)
    }
}

impl Infer for ClassifierSlot {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}
