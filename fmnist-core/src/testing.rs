//! What pipelines of Fashion-MNIST are tested with: a model that says what a test makes up, and a result.
//!
//! Behind the feature `testing`, for dev-dependencies. What any model is tested with is in
//! [`stream_inference::testing`]; a [`Commanded`] classifier is one, too.
//!
//! ```
//! use fmnist_core::{Image, ModelIdentity, Predictor, testing::FakeModel};
//!
//! // Sees a class in the brightness of the first pixel, and fails on a white one.
//! let model = FakeModel::new(ModelIdentity::of_code("first-pixel", "1.0"), |image| {
//!     match image.pixels()[0] {
//!         255 => Err("too bright".to_owned().into()),
//!         pixel => Ok(FakeModel::certain_of(usize::from(pixel) % 10)),
//!     }
//! });
//! assert_eq!(model.predict(&[Image::new([17; Image::PIXELS])]).unwrap()[0].class, 7);
//! ```

use std::{fmt, sync::Arc};

pub use stream_inference::testing::Commanded;

use crate::{
    Image, Infer, ModelIdentity, PredictError, Prediction, Predictor,
    label::LABELS,
    message::{PredictionRecord, ResultRecord},
    transport::Source,
};

/// What a model sees in an image: the class, and all probabilities.
pub type Seen = (usize, Vec<f32>);

type See = dyn Fn(&Image) -> Result<Seen, PredictError> + Send + Sync;

/// A classifier that says of each image what a function says. It fails on a batch where the function fails
/// on one image.
pub struct FakeModel {
    identity: Arc<ModelIdentity>,
    labels: Vec<String>,
    see: Box<See>,
}

impl FakeModel {
    /// Of the data set's ten classes.
    pub fn new(
        identity: ModelIdentity,
        see: impl Fn(&Image) -> Result<Seen, PredictError> + Send + Sync + 'static,
    ) -> Self {
        let labels = LABELS.map(str::to_owned).into();
        Self { identity: Arc::new(identity), labels, see: Box::new(see) }
    }

    /// Of classes of one's own.
    #[must_use]
    pub fn with_labels(self, labels: Vec<String>) -> Self {
        Self { labels, ..self }
    }

    /// One of ten classes, without a doubt.
    pub fn certain_of(class: usize) -> Seen {
        let probability = |index| if index == class { 1.0 } else { 0.0 };
        (class, (0..LABELS.len()).map(probability).collect())
    }
}

impl fmt::Debug for FakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeModel").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Predictor for FakeModel {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let predict = |image| {
            let (class, probabilities) = (self.see)(image)?;
            let (probabilities, model) = (probabilities.into(), Arc::clone(&self.identity));
            Ok(Prediction { class, probabilities, model })
        };
        images.iter().map(predict).collect()
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }

    fn verify(&self, output: &Prediction) -> Result<(), String> {
        output.check(self.labels.len())
    }
}

impl Infer for FakeModel {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}

impl<M: Infer> Infer for Commanded<M> {
    fn labels(&self) -> &[String] {
        self.model().labels()
    }
}

/// The result of message `id` on Kafka: of images from 0 on, one of each of these classes.
///
/// # Panics
/// If a class is none of the ten.
pub fn record(id: &str, classes: &[usize]) -> ResultRecord {
    let prediction = |(index, &class): (usize, &usize)| PredictionRecord {
        index,
        class,
        label: LABELS[class].to_owned(),
        probability: 1.0,
        top: Vec::new(),
        blank: false,
    };
    let mut place = id.rsplit('/');
    let offset = place.next().and_then(|offset| offset.parse().ok());
    let partition = place.next().and_then(|partition| partition.parse().ok());
    ResultRecord {
        schema: ResultRecord::SCHEMA,
        id: id.to_owned(),
        source: Source {
            transport: "kafka".into(),
            topic: place.next().unwrap_or("INFERENCE").into(),
            partition,
            offset,
            message_id: None,
        },
        model: Arc::new(ModelIdentity::of_code("base", "1.0")),
        start_idx: Some(0),
        end_idx: Some(classes.len()),
        predictions: classes.iter().enumerate().map(prediction).collect(),
        received_at: "2026-11-24T03:55:31.000Z".to_owned(),
        inferred_at: "2026-11-24T03:55:31.900Z".to_owned(),
    }
}
