//! Requests and results as a codec: what pipelines are given to answer pictures and ranges of a test set.

use std::{ops::Range, sync::Arc, vec};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::{self, Answer, Codec, Message, rfc3339},
    settings::Whole,
    transport::{Outbound, Rejection, Stage},
};

use super::{PredictionRecord, Request, ResultRecord, decode};
use crate::{
    classifier::{Infer, Prediction},
    image::Image,
};

/// A prediction: about 110 bytes as a record with its label, 95 as JSON, and the client's copy of that.
const PREDICTION_BYTES: usize = 320;
/// An entry of `top`: about 70 bytes as a record with its label, 65 as JSON, and the client's copy.
const TOP_CLASS_BYTES: usize = 224;

/// What results look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResultsConfig {
    /// How many of the most probable classes each prediction lists; 0 leaves the list out.
    #[serde(with = "Whole::<0, 1_000>")]
    pub top_k: usize,
    /// A result above this many bytes is split into parts.
    #[serde(with = "Whole::<1, { 1 << 30 }>")]
    pub max_result_bytes: usize,
}

impl Default for ResultsConfig {
    fn default() -> Self {
        Self { top_k: 0, max_result_bytes: 900_000 }
    }
}

/// The messages of `docs/messages.md`: ranges of a test set, pictures, tensors, raw images.
///
/// ```
/// use std::sync::Arc;
/// use fmnist_core::{Image, Classifier, message::{Requests, ResultsConfig}};
///
/// let model = Classifier::pretrained()?;
/// let test_images: Arc<[Image]> = vec![Image::new([0; 784]); 5].into();
/// let results = ResultsConfig { top_k: 3, ..ResultsConfig::default() };
/// let requests = Requests::new(&model, test_images).with_results(results);
/// # Ok::<(), fmnist_core::ClassifyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Requests {
    test_images: Arc<[Image]>,
    /// Which of them are blank, in order; mostly none.
    blank: Vec<usize>,
    labels: Arc<[String]>,
    config: ResultsConfig,
}

impl Requests {
    /// Answers ranges over `test_images`, with the labels of `model`, which is to predict.
    pub fn new<M: Infer + ?Sized>(model: &M, test_images: Arc<[Image]>) -> Self {
        let (blank, config) = (blank(&test_images), ResultsConfig::default());
        Self { test_images, blank, labels: model.labels().into(), config }
    }

    /// Results of this form.
    #[must_use]
    pub fn with_results(self, config: ResultsConfig) -> Self {
        Self { config, ..self }
    }
}

fn blank(images: &[Image]) -> Vec<usize> {
    (0..).zip(images).filter_map(|(index, image)| image.is_blank().then_some(index)).collect()
}

/// The images of one message, in order.
#[derive(Clone, Debug)]
pub enum Images {
    /// Of the test set; copied one by one, when it is their turn.
    OfTestSet {
        /// The test set.
        images: Arc<[Image]>,
        /// Their indices.
        range: Range<usize>,
    },
    /// Those that the message carried.
    Carried(vec::IntoIter<Image>),
}

impl Iterator for Images {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        match self {
            Self::OfTestSet { images, range } => range.next().map(|index| images[index].clone()),
            Self::Carried(images) => images.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::OfTestSet { range, .. } => range.size_hint(),
            Self::Carried(images) => images.size_hint(),
        }
    }
}

impl ExactSizeIterator for Images {}

/// What an answer needs of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// First and one past the last index, if a range was asked for.
    range: Option<(usize, usize)>,
    /// Which of the carried images are blank, in order.
    blank: Vec<usize>,
}

impl Codec for Requests {
    type Input = Image;
    type Output = Prediction;
    type Inputs = Images;
    type Context = Asked;
    type Record = ResultRecord;

    fn decode(&self, message: Message<'_>) -> Result<codec::Request<Self>, Rejection> {
        Ok(match decode(message.attributes, message.payload, self.test_images.len())? {
            Request::Range { start, end } => {
                let (images, range) = (Arc::clone(&self.test_images), start..end);
                let asked = Asked { range: Some((start, end)), blank: Vec::new() };
                codec::Request::new(Images::OfTestSet { images, range }, asked)
            }
            Request::Images(images) => {
                let kept = if message.keeps_inputs { images.clone() } else { Vec::new() };
                let asked = Asked { range: None, blank: blank(&images) };
                let bytes = size_of_val(&*images) + size_of_val(&*kept);
                codec::Request::new(Images::Carried(images.into_iter()), asked)
                    .keeping(kept)
                    .with_bytes(bytes)
            }
        })
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<ResultRecord, Rejection> {
        let Answer { id, source, context, outputs, model, received_at, inferred_at, .. } = answer;
        let Asked { range, blank } = context;
        let (first, blank) = match range {
            Some((start, _)) => (start, &self.blank),
            None => (0, &blank),
        };
        let top_k = self.config.top_k;
        let record = |(index, prediction): (usize, Prediction)| PredictionRecord {
            blank: blank.binary_search(&index).is_ok(),
            ..PredictionRecord::new(index, &prediction, &self.labels, top_k)
        };
        Ok(ResultRecord {
            schema: ResultRecord::SCHEMA,
            id: id.to_owned(),
            source: source.clone(),
            model: Arc::clone(model),
            start_idx: range.map(|(start, _)| start),
            end_idx: range.map(|(_, end)| end),
            predictions: (first..).zip(outputs).map(record).collect(),
            received_at: rfc3339(received_at),
            inferred_at: rfc3339(inferred_at),
        })
    }

    fn encode(
        &self,
        record: &ResultRecord,
        key: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection> {
        Ok(record.outbound(key, self.config.max_result_bytes))
    }

    fn failed(&self, asked: &Asked, position: usize, reason: &str) -> Rejection {
        let index = asked.range.map_or(0, |(start, _)| start) + position;
        Rejection::new(Stage::Infer, format!("image {index}: {reason}"))
    }

    fn output_bytes(&self) -> usize {
        PREDICTION_BYTES + self.config.top_k.min(self.labels.len()) * TOP_CLASS_BYTES
    }
}
