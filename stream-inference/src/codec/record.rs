//! The result of the codecs here: one record a message, whose id is its message's whatever its payload is.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::split::{payload_bytes, split};
use crate::{
    predict::ModelIdentity,
    transport::{Attributes, Outbound, Source},
};

/// The answer to one message, as JSON schema 1 on the results topic, unless a codec publishes another
/// form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record<O> {
    /// The version of this format: [`Record::SCHEMA`].
    pub schema: u32,
    /// The id of the message that was answered: `Delivery::id`; `id#k/n` for part k of n.
    pub id: String,
    /// Where the message came from.
    pub source: Source,
    /// The model that answered.
    pub model: Arc<ModelIdentity>,
    /// One output for each input, in their order.
    pub predictions: Vec<O>,
    /// When the message was received: as [`rfc3339`] writes it.
    pub received_at: String,
    /// When its last input was answered: as [`rfc3339`] writes it.
    pub inferred_at: String,
}

/// [`Record`], borrowed, with a share of the predictions; the same members in the same order.
#[derive(Serialize)]
struct Part<'a, O> {
    schema: u32,
    id: &'a str,
    source: &'a Source,
    model: &'a ModelIdentity,
    predictions: &'a [O],
    received_at: &'a str,
    inferred_at: &'a str,
}

impl<O> Record<O> {
    /// The version of the format that this library writes.
    pub const SCHEMA: u32 = 1;

    pub(super) fn of<C: super::Codec<Output = O> + ?Sized>(
        answer: super::Answer<'_, C>,
    ) -> (Self, C::Context) {
        let record = Self {
            schema: Self::SCHEMA,
            id: answer.id.to_owned(),
            source: answer.source.clone(),
            model: Arc::clone(answer.model),
            predictions: answer.outputs,
            received_at: rfc3339(answer.received_at),
            inferred_at: rfc3339(answer.inferred_at),
        };
        (record, answer.context)
    }

    /// A message of this result: its id and its model are headers, so that a reader finds duplicates
    /// whatever the payload is. Its key is that of the message that was answered, or else its id.
    pub(super) fn outbound(
        &self,
        key: Option<&Bytes>,
        content_type: &str,
        id: &str,
        payload: Bytes,
    ) -> Outbound {
        let key = key.cloned().unwrap_or_else(|| Bytes::copy_from_slice(self.id.as_bytes()));
        let ModelIdentity { name, version, .. } = &*self.model;
        let attributes: Attributes = [
            ("content-type", content_type.to_owned()),
            ("id", id.to_owned()),
            ("model", format!("{name} {version}")),
        ]
        .into_iter()
        .collect();
        Outbound { key: Some(key), attributes, payload, ..Outbound::default() }
    }
}

impl<O: Serialize> Record<O> {
    /// The record as messages, in parts above `max_bytes`, key and headers counted.
    ///
    /// # Errors
    /// If an output can't be written as JSON.
    pub(super) fn messages(
        &self,
        key: Option<&Bytes>,
        max_bytes: usize,
    ) -> serde_json::Result<Vec<Outbound>> {
        let longest = format!("{}#99999/99999", self.id);
        let empty = self.outbound(key, JSON, &longest, Bytes::new());
        let max_bytes = payload_bytes(max_bytes, empty.size_bytes());
        let encoded = |id: &str, predictions: &[O]| {
            serde_json::to_vec(&Part {
                schema: self.schema,
                id,
                source: &self.source,
                model: &self.model,
                predictions,
                received_at: &self.received_at,
                inferred_at: &self.inferred_at,
            })
        };
        let parts = split(&self.id, &self.predictions, max_bytes, encoded)?;
        let message = |(id, part): (String, Vec<u8>)| self.outbound(key, JSON, &id, part.into());
        Ok(parts.into_iter().map(message).collect())
    }
}

/// The time as results say it: RFC 3339, UTC, milliseconds, such as `2026-11-24T03:55:31.123Z`.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

pub(super) const JSON: &str = "application/json";
