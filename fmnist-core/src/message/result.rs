//! The result on the results topic, schema 1: made by the codec, read by page and sinks.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use stream_inference::{
    codec::{payload_bytes, split},
    transport::{Attributes, Outbound, Source},
};

use crate::classifier::{ModelIdentity, Prediction};

/// The answer to one message, as JSON schema 1 on the results topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResultRecord {
    /// The version of this format: [`ResultRecord::SCHEMA`].
    #[cfg_attr(feature = "schema", schemars(extend("const" = 1)))]
    pub schema: u32,
    /// The id of the message that was answered: `Delivery::id`; `id#k/n` for part k of n.
    pub id: String,
    /// Where the message came from.
    pub source: Source,
    /// The model that answered.
    pub model: Arc<ModelIdentity>,
    /// First index, if a range was asked for; the whole request's in every part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_idx: Option<usize>,
    /// One past the last index, if a range was asked for; the whole request's in every part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_idx: Option<usize>,
    /// One entry an image, in the message's order.
    pub predictions: Vec<PredictionRecord>,
    /// When the message was received, as `rfc3339` writes it.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub received_at: String,
    /// When the last of its images was classified, as `rfc3339` writes it.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub inferred_at: String,
}

/// The answer for one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PredictionRecord {
    /// Index in the test set for a range, position in the message otherwise.
    pub index: usize,
    /// The most probable class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its probability, 0.0–1.0.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub probability: f32,
    /// The most probable classes with label and probability, when `results.top_k` asks for them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub top: Vec<TopClass>,
    /// Present, and true, if there was nothing to see: the class of a blank image means nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub blank: bool,
}

/// One of the most probable classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TopClass {
    /// The class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its probability, 0.0–1.0.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub probability: f32,
}

impl PredictionRecord {
    /// What `prediction` says of the image at `index`, with the `top_k` most probable classes; whether
    /// the image was blank is for the caller to say.
    ///
    /// # Panics
    /// If `labels` are not those of the model that predicted.
    pub fn new(index: usize, prediction: &Prediction, labels: &[String], top_k: usize) -> Self {
        let named = |(class, probability): (usize, f32)| TopClass {
            class,
            label: labels[class].clone(),
            probability,
        };
        let TopClass { class, label, probability } =
            named((prediction.class, prediction.probability()));
        let top = match top_k {
            0 => Vec::new(),
            _ => prediction.top(top_k).into_iter().map(named).collect(),
        };
        Self { index, class, label, probability, top, blank: false }
    }
}

impl ResultRecord {
    /// The version of the format that this library writes.
    pub const SCHEMA: u32 = 1;

    /// A little above what a result without predictions takes.
    const ENVELOPE_BYTES: usize = 512;

    /// Encodes as JSON; above `max_bytes`, as several parts `id#k/n` (k from 1) with a share of
    /// the predictions each. A single prediction is never cut, however small `max_bytes` is.
    pub fn encode(&self, max_bytes: usize) -> Vec<Bytes> {
        let (estimated, all) = (self.estimated_bytes(), self.predictions.len().max(1));
        let part = |id: &str, predictions: &[PredictionRecord]| {
            let usual_bytes = estimated * predictions.len() / all + Self::ENVELOPE_BYTES;
            Ok::<_, Infallible>(self.part(id, predictions, usual_bytes.min(max_bytes)))
        };
        let Ok(parts) = split(&self.id, &self.predictions, max_bytes, part);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// The messages that carry this result: the parts of [`ResultRecord::encode`], in order, each
    /// with the key of the message that was answered, or else its id. A part has at most `max_bytes`
    /// with key and attributes, unless the key alone takes nearly all of that.
    pub fn outbound(&self, key: Option<&Bytes>, max_bytes: usize) -> Vec<Outbound> {
        let key = key.cloned().unwrap_or_else(|| Bytes::copy_from_slice(self.id.as_bytes()));
        let attributes: Attributes = [("content-type", "application/json")].into_iter().collect();
        let envelope_bytes = key.len() + attributes.size_bytes();
        self.encode(payload_bytes(max_bytes, envelope_bytes))
            .into_iter()
            .map(|payload| Outbound {
                key: Some(key.clone()),
                attributes: attributes.clone(),
                payload,
                ..Outbound::default()
            })
            .collect()
    }

    fn part(&self, id: &str, predictions: &[PredictionRecord], capacity_bytes: usize) -> Bytes {
        let part = Part {
            schema: self.schema,
            id,
            source: &self.source,
            model: &self.model,
            start_idx: self.start_idx,
            end_idx: self.end_idx,
            predictions,
            received_at: &self.received_at,
            inferred_at: &self.inferred_at,
        };
        let mut json = Vec::with_capacity(capacity_bytes);
        serde_json::to_writer(&mut json, &part).expect("a vector takes every byte");
        json.into()
    }

    /// A little above the usual length, so that the buffer seldom grows.
    fn estimated_bytes(&self) -> usize {
        const PREDICTION: usize = 96;
        const TOP: usize = 64;
        let top: usize = self.predictions.iter().map(|p| p.top.len()).sum();
        Self::ENVELOPE_BYTES + self.predictions.len() * PREDICTION + top * TOP
    }
}

/// [`ResultRecord`], borrowed, with a share of the predictions; the same members in the same order.
#[derive(Serialize)]
struct Part<'a> {
    schema: u32,
    id: &'a str,
    source: &'a Source,
    model: &'a ModelIdentity,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_idx: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_idx: Option<usize>,
    predictions: &'a [PredictionRecord],
    received_at: &'a str,
    inferred_at: &'a str,
}

#[cfg(test)]
mod tests {
    use stream_inference::codec::rfc3339;

    use super::*;

    fn record(images: usize) -> ResultRecord {
        let labels: Vec<String> = crate::label::LABELS.map(str::to_owned).into();
        let model = Arc::new(ModelIdentity {
            name: "base".to_owned(),
            version: "1.0".to_owned(),
            sha256: "0".repeat(64),
        });
        let prediction = Prediction {
            class: 9,
            probabilities: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0625, 0.0, 0.1875, 0.0, 0.75].into(),
            model: Arc::clone(&model),
        };
        ResultRecord {
            schema: ResultRecord::SCHEMA,
            id: "INFERENCE/3/1042".to_owned(),
            source: Source {
                transport: "kafka".into(),
                topic: "INFERENCE".into(),
                partition: Some(3),
                offset: Some(1042),
                message_id: None,
            },
            model,
            start_idx: Some(5),
            end_idx: Some(5 + images),
            predictions: (5..5 + images)
                .map(|index| PredictionRecord::new(index, &prediction, &labels, 2))
                .collect(),
            received_at: rfc3339("2026-11-24T03:55:31.1239Z".parse().expect("a time")),
            inferred_at: rfc3339("2026-11-24T03:55:32Z".parse().expect("a time")),
        }
    }

    fn decoded(part: &Bytes) -> ResultRecord {
        serde_json::from_slice(part).expect("a result")
    }

    #[test]
    fn a_result_reads_as_documented() {
        let [json] = &record(1).encode(900_000)[..] else { panic!("one part") };
        assert_eq!(
            std::str::from_utf8(json),
            Ok(concat!(
                r#"{"schema":1,"id":"INFERENCE/3/1042","#,
                r#""source":{"transport":"kafka","topic":"INFERENCE","partition":3,"offset":1042},"#,
                r#""model":{"name":"base","version":"1.0","sha256":"#,
                r#""0000000000000000000000000000000000000000000000000000000000000000"},"#,
                r#""start_idx":5,"end_idx":6,"predictions":[{"index":5,"class":9,"#,
                r#""label":"Ankle boot","probability":0.75,"#,
                r#""top":[{"class":9,"label":"Ankle boot","probability":0.75},"#,
                r#"{"class":7,"label":"Sneaker","probability":0.1875}]}],"#,
                r#""received_at":"2026-11-24T03:55:31.123Z","inferred_at":"2026-11-24T03:55:32.000Z"}"#,
            ))
        );
    }

    #[test]
    fn only_a_blank_image_says_so() {
        let mut record = record(2);
        record.predictions[1].blank = true;
        let [json] = &record.encode(900_000)[..] else { panic!("one part") };
        let text = std::str::from_utf8(json).expect("JSON");
        assert_eq!(text.matches(r#""blank":true}"#).count(), 1, "{text}");
        assert!(!text.contains("false"), "{text}");
        assert_eq!(decoded(json), record);
    }

    #[test]
    fn the_borrowed_form_is_the_owned_form() {
        let record = record(3);
        let owned = serde_json::to_vec(&record).expect("JSON");
        assert_eq!(record.encode(usize::MAX), [owned]);
    }

    #[test]
    fn a_result_of_exactly_the_limit_stays_whole() {
        let record = record(10);
        let length = record.encode(usize::MAX)[0].len();
        assert_eq!(record.encode(length).len(), 1);
        assert_eq!(record.encode(length - 1).len(), 2);
    }

    #[test]
    fn parts_stay_below_the_limit_and_add_up_to_the_whole() {
        let record = record(1000);
        for max_bytes in [1_000, 4_096, 20_000, 100_000] {
            let parts = record.encode(max_bytes);
            let n = parts.len();
            let mut predictions = Vec::new();
            for (k, part) in (1..).zip(&parts) {
                assert!(part.len() <= max_bytes, "{} > {max_bytes}", part.len());
                let part = decoded(part);
                assert_eq!(part.id, format!("INFERENCE/3/1042#{k}/{n}"));
                assert_eq!((part.start_idx, part.end_idx), (Some(5), Some(1005)));
                predictions.extend(part.predictions);
            }
            assert_eq!(predictions, record.predictions);
        }
    }

    #[test]
    fn a_single_prediction_is_never_cut() {
        let record = record(3);
        let parts = record.encode(1);
        assert_eq!(parts.len(), 3);
        assert_eq!(decoded(&parts[2]).predictions, record.predictions[2..]);
    }

    #[test]
    fn a_result_goes_out_under_the_key_of_its_message_or_else_its_id() {
        let record = record(2);
        let outbound = record.outbound(Some(&Bytes::from_static(b"shop-7")), usize::MAX);
        assert_eq!(outbound[0].key.as_deref(), Some(&b"shop-7"[..]));
        assert_eq!(outbound[0].attributes.text("content-type"), Some("application/json"));
        let parts = record.outbound(None, 600);
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|p| p.key.as_deref() == Some(b"INFERENCE/3/1042")));
    }

    #[test]
    fn the_key_counts_in_the_size_of_a_part_and_does_not_multiply_the_parts_without_a_bound() {
        let record = record(1000);
        let (key, large) = (Bytes::from(vec![b'k'; 10_000]), Bytes::from(vec![b'k'; 30_000]));
        let parts = record.outbound(Some(&key), 20_000);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.size_bytes() <= 20_000));
        let most = 12 * record.outbound(Some(&Bytes::new()), 20_000).len();
        assert!(record.outbound(Some(&large), 20_000).len() <= most, "{most} parts at most");
    }
}
