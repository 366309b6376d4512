//! A format and a model of single bytes, for the tests of this crate.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Answer, Codec, Message, PartId, Request},
    predict::{ModelIdentity, PredictError, Predictor, Served},
    testing::Commanded,
    transport::{Outbound, Rejection, Stage},
};

/// Messages of one input, the first byte of whatever they carry, and ranges of stored values:
/// `{"start_idx": 0, "end_idx": 3}`. A message that carries nothing has no inputs.
#[derive(Clone, Debug)]
pub(crate) struct Toy {
    /// How many values are stored: 1, 2, … 100, 1, 2, …
    pub(crate) values: usize,
    pub(crate) output_bytes: usize,
    /// Outputs of one result at most; more are sent in parts.
    pub(crate) most_outputs: usize,
    /// Where it panics, and at which input or first output.
    pub(crate) panics: Option<(Step, u8)>,
}

/// What a codec does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Decode,
    /// Of the inputs that were decoded.
    Count,
    Record,
    Encode,
}

impl Default for Toy {
    fn default() -> Self {
        Self { values: 100, output_bytes: 512, most_outputs: usize::MAX, panics: None }
    }
}

impl Toy {
    fn step(&self, step: Step, value: Option<u8>) {
        let panics = self.panics.is_some_and(|(at, on)| at == step && value == Some(on));
        assert!(!panics, "{value:?}, which {step:?} does not bear");
    }
}

/// The inputs of a message: one that it carries, or stored ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) stored: Range<usize>,
    pub(crate) carried: Option<u8>,
    /// Does not know how many there are, against its promise.
    pub(crate) is_uncounted: bool,
}

impl Iterator for Values {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.carried.take().or_else(|| self.stored.next().map(|index| (index % 100) as u8 + 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.stored.len() + usize::from(self.carried.is_some());
        if self.is_uncounted { (0, None) } else { (left, Some(left)) }
    }
}

impl ExactSizeIterator for Values {}

/// An output: a digit, unless the model is out of its mind, and who says so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) digit: u8,
    pub(crate) model: Arc<ModelIdentity>,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) range: Option<(usize, usize)>,
    pub(crate) outputs: Vec<u8>,
    pub(crate) model: Arc<ModelIdentity>,
    /// The models that computed the outputs, one after the other.
    pub(crate) said_by: Vec<Arc<ModelIdentity>>,
}

impl Record {
    /// Whether the model that is named computed all outputs.
    pub(crate) fn is_of_one_model(&self) -> bool {
        self.said_by == [Arc::clone(&self.model)]
    }
}

impl Codec for Toy {
    type Input = u8;
    type Output = Said;
    type Inputs = Values;
    type Context = Option<(usize, usize)>;
    type Record = Record;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        #[derive(Deserialize)]
        struct Asked {
            start_idx: usize,
            end_idx: usize,
        }
        let Message { payload, keeps_inputs, .. } = message;
        let value = payload.first().copied();
        if value == Some(b'{') {
            let Asked { start_idx, end_idx } = serde_json::from_slice(payload)
                .map_err(|error| Rejection::new(Stage::Decode, error.to_string()))?;
            if start_idx >= end_idx || end_idx > self.values {
                let reason = format!("no range of {} values: {start_idx}..{end_idx}", self.values);
                return Err(Rejection::new(Stage::Validate, reason));
            }
            let inputs = Values { stored: start_idx..end_idx, ..Values::default() };
            let context = Some((start_idx, end_idx));
            return Ok(Request { inputs, kept: Vec::new(), context, bytes: 0 });
        }
        self.step(Step::Decode, value);
        let kept = value.into_iter().filter(|_| keeps_inputs).collect();
        let is_uncounted =
            self.panics.is_some_and(|(at, on)| at == Step::Count && value == Some(on));
        let inputs = Values { carried: value, is_uncounted, ..Values::default() };
        Ok(Request { inputs, kept, context: None, bytes: payload.len() })
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<Record, Rejection> {
        let Answer { id, context: range, outputs, model, .. } = answer;
        self.step(Step::Record, outputs.first().map(|said| said.digit));
        let mut said_by: Vec<_> = outputs.iter().map(|said| Arc::clone(&said.model)).collect();
        said_by.dedup();
        let outputs = outputs.into_iter().map(|said| said.digit).collect();
        Ok(Record { id: id.to_owned(), range, outputs, model: Arc::clone(model), said_by })
    }

    fn encode(&self, record: &Record, key: Option<&Bytes>) -> Result<Vec<Outbound>, Rejection> {
        self.step(Step::Encode, record.outputs.first().copied());
        let key = key.cloned().unwrap_or_else(|| record.id.clone().into());
        let shares = record.outputs.chunks(self.most_outputs);
        let count = shares.len();
        let part = |(k, outputs): (usize, &[u8])| {
            let id = match count {
                1 => record.id.clone(),
                _ => PartId { message: &record.id, k, n: count }.to_string(),
            };
            let part = Record { id, outputs: outputs.to_vec(), ..record.clone() };
            let payload = serde_json::to_vec(&part).expect("a record is JSON").into();
            Outbound { key: Some(key.clone()), payload, ..Outbound::default() }
        };
        Ok((1..).zip(shares).map(part).collect())
    }

    fn output_bytes(&self) -> usize {
        self.output_bytes
    }
}

/// Answers an input with its last decimal digit. Fails on 255, panics on 254, and says of 253 and 252
/// what it refuses itself.
pub(crate) struct Echo {
    identity: Arc<ModelIdentity>,
}

impl Echo {
    pub(crate) fn new() -> Commanded<Self> {
        Commanded::new(Self::of_version("1"))
    }

    pub(crate) fn of_version(version: &str) -> Self {
        Self { identity: Arc::new(ModelIdentity::of_code("echo", version)) }
    }
}

impl Predictor for Echo {
    type Input = u8;
    type Output = Said;

    fn predict(&self, batch: &[u8]) -> Result<Vec<Said>, PredictError> {
        let say = |digit| Said { digit, model: Arc::clone(&self.identity) };
        let answer = |input: &u8| match *input {
            255 => Err(PredictError::from("too bright".to_owned())),
            254 => panic!("far too bright"),
            252 | 253 => Ok(say(*input)),
            _ => Ok(say(input % 10)),
        };
        batch.iter().map(answer).collect()
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }

    fn verify(&self, output: &Said) -> Result<(), String> {
        match output.digit {
            0..10 => Ok(()),
            253 => Err("expected a finite digit".to_owned()),
            found => Err(format!("expected one of 10 digits, found {found}")),
        }
    }
}

/// A model that is exchanged for its next version after so many batches.
pub(crate) struct Exchanged {
    versions: [Echo; 2],
    after: usize,
    served: AtomicUsize,
}

impl Exchanged {
    pub(crate) fn after(batches: usize) -> Self {
        let versions = ["1", "2"].map(Echo::of_version);
        Self { versions, after: batches, served: AtomicUsize::new(0) }
    }

    /// Batches so far, those included that failed.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn version(&self, served: usize) -> &Echo {
        &self.versions[usize::from(served >= self.after)]
    }
}

impl Predictor for Exchanged {
    type Input = u8;
    type Output = Said;

    fn predict(&self, batch: &[u8]) -> Result<Vec<Said>, PredictError> {
        self.serve(batch).map(|served| served.outputs)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.version(self.served()).identity()
    }

    fn serve(&self, batch: &[u8]) -> Result<Served<Said>, PredictError> {
        self.version(self.served.fetch_add(1, Ordering::SeqCst)).serve(batch)
    }
}
