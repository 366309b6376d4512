//! A codec around another, for messages that come as CloudEvents: only the way in differs.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Codec, Message, Request, json, record::JSON};
use crate::transport::{Outbound, Rejection, Stage};

/// CloudEvents 1.0 around messages of another codec, binary (`ce_*` or `ce-*` headers) or structured
/// (`application/cloudevents+json`); what is no event goes to the codec as it is. Results are the
/// codec's.
///
/// Of a structured event the codec sees the data: `data_base64` as bytes, a text in `data` as its
/// bytes where `datacontenttype` is not JSON, and other values of `data` as JSON, written anew.
#[derive(Clone, Debug)]
pub struct CloudEvents<C>(C);

impl<C: Codec> CloudEvents<C> {
    /// Unwraps events for `codec`.
    pub const fn around(codec: C) -> Self {
        Self(codec)
    }
}

#[derive(Deserialize)]
struct Event {
    specversion: Option<String>,
    datacontenttype: Option<String>,
    data: Option<Value>,
    data_base64: Option<String>,
}

impl<C: Codec> Codec for CloudEvents<C> {
    type Input = C::Input;
    type Output = C::Output;
    type Inputs = C::Inputs;
    type Context = C::Context;
    type Record = C::Record;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        for name in ["ce_specversion", "ce-specversion"] {
            if let Some(version) = message.attributes.value(name) {
                check_version(&String::from_utf8_lossy(version))?;
            }
        }
        let content_type = message.attributes.text("content-type").unwrap_or_default();
        if !is_structured(content_type) {
            return self.0.decode(message).map(Request::around);
        }
        let (inner, payload) = unwrap(message.payload)?;
        // The last of a name counts.
        let mut attributes = message.attributes.clone();
        attributes.push("content-type", inner);
        let (attributes, payload) = (&attributes, &payload);
        self.0.decode(Message { attributes, payload, ..message }).map(Request::around)
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<C::Record, Rejection> {
        self.0.record(answer.within())
    }

    fn encode(&self, record: &C::Record, key: Option<&Bytes>) -> Result<Vec<Outbound>, Rejection> {
        self.0.encode(record, key)
    }

    fn failed(&self, context: &C::Context, position: usize, reason: &str) -> Rejection {
        self.0.failed(context, position, reason)
    }

    fn filters(&self) -> bool {
        self.0.filters()
    }

    fn topics(&self) -> Vec<Arc<str>> {
        self.0.topics()
    }

    fn output_bytes(&self) -> usize {
        self.0.output_bytes()
    }
}

fn is_structured(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/cloudevents+json")
}

fn refused(reason: impl std::fmt::Display) -> Rejection {
    Rejection::new(Stage::Decode, format!("CloudEvent: {reason}"))
}

fn check_version(version: &str) -> Result<(), Rejection> {
    match version {
        "1.0" => Ok(()),
        _ => Err(refused(format_args!("expected specversion \"1.0\", found {version:?}"))),
    }
}

/// The content type of a structured event's data, and the data.
fn unwrap(payload: &[u8]) -> Result<(String, Bytes), Rejection> {
    let event: Event = json::read(payload)?;
    check_version(event.specversion.as_deref().unwrap_or_default())?;
    let is_json = event.datacontenttype.as_deref().is_none_or(|inner| inner.contains("json"));
    let data = match (event.data, event.data_base64) {
        (Some(Value::String(text)), None) if !is_json => text.into_bytes(),
        (Some(value), None) => value.to_string().into_bytes(),
        (None, Some(base64)) => BASE64_STANDARD
            .decode(base64)
            .map_err(|error| refused(format_args!("data_base64: {error}")))?,
        (None, None) => return Err(refused("neither data nor data_base64")),
        (Some(_), Some(_)) => return Err(refused("both data and data_base64")),
    };
    Ok((event.datacontenttype.unwrap_or_else(|| JSON.to_owned()), data.into()))
}
