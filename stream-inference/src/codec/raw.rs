//! Bytes in, bytes out: the function reads and writes.

use std::{borrow::Cow, iter};

use bytes::Bytes;

use super::{Answer, Codec, Message, Record, Request, json::OUTPUT_BYTES};
use crate::transport::{Outbound, Rejection};

/// Any bytes: a message's payload is its one input, not copied, and what the model answers is the
/// result's payload. The function reads and writes.
///
/// A payload that the function can't read is its input's fault: let it answer
/// [`PredictError::Input`](crate::predict::PredictError::Input).
#[derive(Clone, Debug)]
pub struct Raw {
    content_type: Cow<'static, str>,
    output_bytes: usize,
}

impl Raw {
    /// Results are `application/octet-stream`.
    pub const fn new() -> Self {
        let content_type = Cow::Borrowed("application/octet-stream");
        Self { content_type, output_bytes: OUTPUT_BYTES }
    }

    /// Results are of this media type.
    #[must_use]
    pub fn with_content_type(self, content_type: impl Into<Cow<'static, str>>) -> Self {
        Self { content_type: content_type.into(), ..self }
    }

    /// See [`Json::with_output_bytes`](super::Json::with_output_bytes).
    #[must_use]
    pub fn with_output_bytes(self, output_bytes: usize) -> Self {
        Self { output_bytes, ..self }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Raw {
    type Input = Bytes;
    type Output = Bytes;
    type Inputs = iter::Once<Bytes>;
    type Context = ();
    type Record = Record<Bytes>;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        let kept = if message.keeps_inputs { vec![message.payload.clone()] } else { Vec::new() };
        Ok(Request::new(iter::once(message.payload.clone()), ()).keeping(kept))
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<Record<Bytes>, Rejection> {
        Ok(Record::of(answer).0)
    }

    fn encode(
        &self,
        record: &Record<Bytes>,
        key: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection> {
        let message =
            |output: &Bytes| record.outbound(key, &self.content_type, &record.id, output.clone());
        Ok(record.predictions.iter().map(message).collect())
    }

    fn output_bytes(&self) -> usize {
        self.output_bytes
    }
}
