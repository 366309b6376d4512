//! CloudEvents 1.0, as its Kafka protocol binding carries them; Pub/Sub's has `ce-` for `ce_`.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use stream_inference::transport::{Attributes, Rejection};

use super::{
    document::Document,
    request::{malformed, media_type},
};
use crate::text;

/// What a structured event carries.
pub(super) enum Content {
    /// A JSON object in place.
    Object(Document),
    /// Bytes of a named media type.
    Typed(String, Bytes),
    /// Bytes of no named type.
    Untyped(Bytes),
}

#[derive(Deserialize)]
struct Event {
    specversion: Option<String>,
    datacontenttype: Option<String>,
    data: Option<Data>,
    data_base64: Option<String>,
}

enum Data {
    Object(Document),
    Text(String),
}

/// Whether the media type says that the payload is an event, or several.
pub(super) fn is_structured(media_type: &str) -> bool {
    media_type.starts_with("application/cloudevents")
}

/// Takes a structured event apart.
///
/// As JSON is the default of `datacontenttype`, an object in `data` needs none. A string in `data`
/// stands for its UTF-8 bytes.
pub(super) fn unwrap(outer: &str, payload: &[u8]) -> Result<Content, Rejection> {
    if outer != "application/cloudevents+json" {
        let reason = format!("expected application/cloudevents+json, found {outer:?}");
        return Err(malformed(reason));
    }
    let payload =
        text::without_mark(payload).map_err(|error| malformed(format!("CloudEvent: {error}")))?;
    let event: Event = serde_json::from_slice(payload)
        .map_err(|error| malformed(format!("CloudEvent: {error}")))?;
    check_version(event.specversion.as_deref().unwrap_or_default())?;
    let inner = event.datacontenttype.and_then(|value| media_type(value.as_bytes()));
    let bytes = match (event.data, event.data_base64) {
        (Some(Data::Object(document)), None) => {
            return match inner.as_deref() {
                None | Some("application/json") => Ok(Content::Object(document)),
                Some(inner) => Err(malformed(format!(
                    "CloudEvent: data is a JSON object, but datacontenttype is {inner:?}"
                ))),
            };
        }
        (Some(Data::Text(text)), None) => text.into_bytes(),
        (None, Some(base64)) => BASE64_STANDARD
            .decode(base64)
            .map_err(|error| malformed(format!("CloudEvent: data_base64: {error}")))?,
        (None, None) => return Err(malformed("CloudEvent: neither data nor data_base64")),
        (Some(_), Some(_)) => return Err(malformed("CloudEvent: both data and data_base64")),
    };
    Ok(match inner {
        Some(inner) => Content::Typed(inner, bytes.into()),
        None => Content::Untyped(bytes.into()),
    })
}

/// Refuses versions of the binary mode that this library does not know. The rest of the binary
/// mode needs no unwrapping: payload and `content-type` are the data's own.
pub(super) fn check_binary(attributes: &Attributes) -> Result<(), Rejection> {
    ["ce_specversion", "ce-specversion"]
        .iter()
        .filter_map(|name| attributes.value(name))
        .try_for_each(|version| check_version(&String::from_utf8_lossy(version)))
}

fn check_version(version: &str) -> Result<(), Rejection> {
    if version == "1.0" {
        return Ok(());
    }
    Err(malformed(format!("CloudEvent: expected specversion \"1.0\", found {version:?}")))
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOrText;

        impl<'de> Visitor<'de> for ObjectOrText {
            type Value = Data;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object or a string as data")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
                Document::deserialize(MapAccessDeserializer::new(map)).map(Data::Object)
            }

            fn visit_str<E>(self, text: &str) -> Result<Data, E> {
                Ok(Data::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(ObjectOrText)
    }
}
