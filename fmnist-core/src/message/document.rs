//! The JSON object that a message can be.

use serde::{
    Deserialize,
    de::{Error, IgnoredAny},
};
use stream_inference::transport::Rejection;

use super::{
    range::{self, Index},
    request::{Few, Request, invalid, malformed},
    tensor::{self, Tensor},
};
use crate::text;

/// A range, or an Open Inference Protocol request; members that neither needs are ignored, but for
/// those that tell a result.
#[derive(Deserialize)]
pub(super) struct Document {
    start_idx: Option<Index>,
    end_idx: Option<Index>,
    inputs: Option<Few<Tensor>>,
    schema: Option<IgnoredAny>,
    model: Option<IgnoredAny>,
    predictions: Option<IgnoredAny>,
}

impl Document {
    /// Reads a JSON object, with or without a byte-order mark; a member that comes twice is an error.
    pub(super) fn parse(payload: &[u8]) -> serde_json::Result<Self> {
        let payload = text::without_mark(payload).map_err(serde_json::Error::custom)?;
        if Self::is_begun(payload) {
            return serde_json::from_slice(payload);
        }
        Err(serde_json::Error::custom(match serde_json::from_slice::<IgnoredAny>(payload) {
            Ok(_) => "JSON, but not an object".to_owned(),
            Err(error) => error.to_string(),
        }))
    }

    /// Whether the first byte that is not white space opens an object.
    pub(super) fn is_begun(payload: &[u8]) -> bool {
        let text = text::without_mark(payload).unwrap_or(payload);
        text.trim_ascii_start().starts_with(b"{")
    }

    /// Whether the payload is one JSON object, whatever its members.
    pub(super) fn is_complete(payload: &[u8]) -> bool {
        let text = text::without_mark(payload).unwrap_or(payload);
        Self::is_begun(text) && serde_json::from_slice::<IgnoredAny>(text).is_ok()
    }

    /// Whether it is a result of this project's. That of a range has the range in it, and would be
    /// answered, and its answer, too, for ever.
    pub(super) fn is_result(&self) -> bool {
        self.schema.is_some() && self.model.is_some() && self.predictions.is_some()
    }

    /// What the object asks for.
    pub(super) fn request(self, test_images: usize) -> Result<Request, Rejection> {
        if self.is_result() {
            return Err(is_result());
        }
        match self {
            Self { inputs: Some(inputs), start_idx: None, end_idx: None, .. } => {
                tensor::images(inputs, &[]).map(Request::Images)
            }
            Self { inputs: Some(_), .. } => {
                Err(malformed("expected inputs or a range, found both"))
            }
            Self { inputs: None, start_idx: None, end_idx: None, .. } => {
                Err(malformed("expected start_idx and end_idx, or inputs, found none of them"))
            }
            Self { inputs: None, start_idx, end_idx, .. } => {
                range::from_json(start_idx, end_idx)?.request(test_images)
            }
        }
    }
}

pub(super) fn is_result() -> Rejection {
    let reason = "expected a request, found a result, with schema, model and predictions: is the \
                  source the results topic?";
    invalid(reason)
}
