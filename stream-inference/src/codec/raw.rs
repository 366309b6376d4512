use std::iter;

use bytes::Bytes;

use super::{Answer, Codec, Message, Record, Request};
use crate::transport::{Outbound, Rejection};

/// Any bytes: a message's payload is its one input, not copied, and what the model answers is the
/// result's payload. The function reads and writes.
///
/// A payload that the function can't read is its input's fault: let it answer
/// [`PredictError::Input`](crate::predict::PredictError::Input).
#[derive(Clone, Debug)]
pub struct Raw {
    content_type: &'static str,
}

impl Raw {
    /// Results are `application/octet-stream`.
    pub const fn new() -> Self {
        Self { content_type: "application/octet-stream" }
    }

    /// Results are of this media type.
    #[must_use]
    pub const fn with_content_type(self, content_type: &'static str) -> Self {
        Self { content_type }
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
        Ok(Request { inputs: iter::once(message.payload.clone()), kept, context: (), bytes: 0 })
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
            |output: &Bytes| record.outbound(key, self.content_type, &record.id, output.clone());
        Ok(record.predictions.iter().map(message).collect())
    }
}
