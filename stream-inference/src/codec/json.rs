//! JSON of a program's own types. It bounds what a message may ask for, and refuses results that come back.

use std::{fmt, marker::PhantomData, vec};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, SeqAccess, Visitor},
};

use super::{Answer, Codec, Message, Record, Request};
use crate::{
    predict::ModelIdentity,
    text,
    transport::{Outbound, Rejection, Stage},
};

/// Results above this many bytes are split.
const MAX_RESULT_BYTES: usize = 900_000;
/// What one output takes where nothing is said, in bytes.
pub(super) const OUTPUT_BYTES: usize = 512;
/// Inputs that an array may have at most.
const MAX_INPUTS: usize = 10_000;

/// JSON of your own types: a message is one input, or with [`Json::arrays`] as many as it has elements.
///
/// A result is a [`Record`]. One that comes back as a message is refused, so that a results topic
/// that is read by mistake does not answer itself for ever.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stream_inference::codec::Json;
///
/// #[derive(Deserialize)]
/// struct Payment { amount: f32, hour: u8 }
/// #[derive(Serialize)]
/// struct Risk { score: f32 }
///
/// let codec = Json::<Payment, Risk>::new();
/// let many = Json::<Payment, Risk>::arrays();
/// ```
pub struct Json<I, O> {
    is_array: bool,
    max_result_bytes: usize,
    output_bytes: usize,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Json<I, O> {
    /// A message is one input.
    pub const fn new() -> Self {
        let (max_result_bytes, output_bytes) = (MAX_RESULT_BYTES, OUTPUT_BYTES);
        Self { is_array: false, max_result_bytes, output_bytes, types: PhantomData }
    }

    /// A message is an array of inputs, from 1 to 10,000.
    pub const fn arrays() -> Self {
        Self { is_array: true, ..Self::new() }
    }

    /// Splits results above so many bytes, key and headers counted, into parts `id#k/n`; 900,000 where
    /// nothing is said.
    #[must_use]
    pub const fn with_max_result_bytes(self, max_result_bytes: usize) -> Self {
        Self { max_result_bytes, ..self }
    }

    /// What one output takes from the model to its settlement, in bytes; see
    /// [`Codec::output_bytes`]. 512 where nothing is said: say it of large ones, such as embeddings.
    #[must_use]
    pub const fn with_output_bytes(self, output_bytes: usize) -> Self {
        Self { output_bytes, ..self }
    }
}

impl<I, O> Default for Json<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, O> Clone for Json<I, O> {
    fn clone(&self) -> Self {
        Self { types: PhantomData, ..*self }
    }
}

impl<I, O> fmt::Debug for Json<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json").field("is_array", &self.is_array).finish_non_exhaustive()
    }
}

/// The inputs of one message.
pub type Values<I> = vec::IntoIter<I>;

impl<I, O> Codec for Json<I, O>
where
    I: DeserializeOwned + Send + Sync + 'static,
    O: Serialize + Send + Sync + 'static,
{
    type Input = I;
    type Output = O;
    type Inputs = Values<I>;
    type Context = ();
    type Record = Record<O>;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        let inputs = || {
            if self.is_array {
                return read(message.payload).map(|Array(inputs)| inputs);
            }
            Ok(vec![read(message.payload)?])
        };
        let read = inputs()?;
        // Read twice, so that inputs need not be such as can be copied.
        let kept = if message.keeps_inputs { inputs()? } else { Vec::new() };
        // What they hold beside themselves is about what was read.
        let copies = if message.keeps_inputs { 2 } else { 1 };
        let bytes = size_of_val(&*read) + size_of_val(&*kept) + copies * message.payload.len();
        Ok(Request::new(read.into_iter(), ()).keeping(kept).with_bytes(bytes))
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<Record<O>, Rejection> {
        Ok(Record::of(answer).0)
    }

    fn encode(&self, record: &Record<O>, key: Option<&Bytes>) -> Result<Vec<Outbound>, Rejection> {
        record.messages(key, self.max_result_bytes).map_err(unwritable)
    }

    fn output_bytes(&self) -> usize {
        self.output_bytes
    }
}

/// An array that is not read further than it may be long.
struct Array<I>(Vec<I>);

impl<'de, I: Deserialize<'de>> Deserialize<'de> for Array<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<I>(PhantomData<I>);

        impl<'de, I: Deserialize<'de>> Visitor<'de> for Elements<I> {
            type Value = Array<I>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_INPUTS} inputs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Array<I>, A::Error> {
                let mut inputs = Vec::new();
                while let Some(input) = elements.next_element()? {
                    if inputs.len() == MAX_INPUTS {
                        let reason = format!("expected at most {MAX_INPUTS} inputs in a message");
                        return Err(de::Error::custom(reason));
                    }
                    inputs.push(input);
                }
                Ok(Array(inputs))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// Reads one JSON value, with or without a byte-order mark.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Rejection> {
    let refused = |reason: String| Rejection::new(Stage::Decode, reason);
    let text = text::without_mark(payload).map_err(|error| refused(error.to_string()))?;
    if is_result(text) {
        let reason = "expected a request, found a result, with schema, model and predictions: is the \
                      source the results topic?";
        return Err(Rejection::new(Stage::Validate, reason));
    }
    serde_json::from_slice(text).map_err(|error| match text {
        [] => refused("the payload is empty".to_owned()),
        _ => refused(error.to_string()),
    })
}

/// Whether this is a [`Record`] of this library's, or one of its kin.
fn is_result(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Members {
        schema: u32,
        #[serde(rename = "model")]
        _model: ModelIdentity,
        #[serde(rename = "predictions")]
        _predictions: Vec<de::IgnoredAny>,
    }
    // Searched first, because to parse everything twice would cost as much again.
    let has = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
    text.trim_ascii_start().starts_with(b"{")
        && has(b"\"predictions\"")
        && serde_json::from_slice::<Members>(text).is_ok_and(|members| members.schema == 1)
}

pub(super) fn unwritable(error: serde_json::Error) -> Rejection {
    Rejection::new(Stage::Encode, format!("an output can't be written as JSON: {error}"))
}
