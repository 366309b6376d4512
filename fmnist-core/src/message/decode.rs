//! Which form a message has, decided once and without a second guess. The forms themselves are read in the
//! files beside this one.

use bytes::Bytes;
use stream_inference::transport::{Attributes, Rejection};

use super::{
    cloud_event::{self, Content},
    document::{self, Document},
    range,
    request::{Request, check_count, malformed, media_type},
};
use crate::{
    image::{self, Image},
    text,
};

/// Reads one message: attributes, payload, and the length of the configured test set.
///
/// Decided in this order, without a second guess after the first match:
/// 1. CloudEvents 1.0, binary (`ce_*` or `ce-*` attributes) or structured
///    (`application/cloudevents+json`), are unwrapped; the inner content type decides from here on.
/// 2. A content type: `application/json`, `application/octet-stream` (n × 784 raw bytes) or
///    `image/*`; any other is rejected.
/// 3. No content type: attributes `start_idx` and `end_idx`; else the magic bytes of a picture;
///    else a complete JSON object; else a length of exactly n × 784; else rejected.
///
/// # Errors
/// A [`Rejection`] that says what was expected and found, at `Stage::Decode` if the message can't be read and
/// at `Stage::Validate` if it asks for what can't be done.
pub fn decode(
    attributes: &Attributes,
    payload: &Bytes,
    test_images: usize,
) -> Result<Request, Rejection> {
    let content_type = attributes.value("content-type").and_then(|value| media_type(value));
    if let Some(outer) = content_type.as_deref().filter(|t| cloud_event::is_structured(t)) {
        return match cloud_event::unwrap(outer, payload)? {
            Content::Object(document) => document.request(test_images),
            Content::Typed(inner, bytes) => typed(&inner, &bytes, test_images),
            Content::Untyped(bytes) => untyped(&bytes, test_images),
        };
    }
    cloud_event::check_binary(attributes)?;
    if let Some(content_type) = content_type {
        return typed(&content_type, payload, test_images);
    }
    match range::from_attributes(attributes)? {
        Some(_) if is_result(payload) => Err(document::is_result()),
        Some(bounds) => bounds.request(test_images),
        None => untyped(payload, test_images),
    }
}

fn typed(media_type: &str, payload: &[u8], test_images: usize) -> Result<Request, Rejection> {
    match media_type {
        "application/json" => match Document::parse(payload) {
            Ok(document) => document.request(test_images),
            Err(error) => Err(malformed(match schema_registry_id(payload) {
                Some(id) => schema_registry(id),
                None => format!("expected a JSON object: {error}"),
            })),
        },
        "application/octet-stream" => raw(payload).unwrap_or_else(|| {
            let (found, image) = (payload.len(), Image::PIXELS);
            Err(malformed(format!("expected n × {image} raw bytes, found {found}")))
        }),
        _ if media_type.starts_with("image/") => picture(payload),
        _ => Err(malformed(format!(
            "expected content type application/json, application/octet-stream, image/* or \
             application/cloudevents+json, found {media_type:?}"
        ))),
    }
}

fn untyped(payload: &[u8], test_images: usize) -> Result<Request, Rejection> {
    if image::is_picture(payload) {
        return picture(payload);
    }
    let no_object = match Document::parse(payload) {
        Ok(document) => return document.request(test_images),
        Err(error) if error.is_data() && Document::is_complete(payload) => {
            return Err(malformed(error.to_string()));
        }
        Err(error) => error,
    };
    raw(payload).unwrap_or_else(|| {
        if let Err(error) = text::without_mark(payload) {
            return Err(malformed(error.to_string()));
        }
        Err(malformed(match (schema_registry_id(payload), payload) {
            (_, []) => "the payload is empty".to_owned(),
            (Some(id), _) => schema_registry(id),
            (None, _) if Document::is_begun(payload) => {
                format!("expected a complete JSON object: {no_object}")
            }
            (None, _) => format!(
                "expected attributes start_idx and end_idx, a picture, a JSON object or n × {} raw \
                 bytes, found {} bytes: {:?}",
                Image::PIXELS,
                payload.len(),
                beginning(payload)
            ),
        }))
    })
}

fn is_result(payload: &[u8]) -> bool {
    Document::is_begun(payload)
        && Document::parse(payload).is_ok_and(|document| document.is_result())
}

fn picture(payload: &[u8]) -> Result<Request, Rejection> {
    let image = image::decode_upload(payload).map_err(|error| malformed(error.to_string()))?;
    Ok(Request::Images(vec![image]))
}

/// Raw images, if the length is that of at least one.
fn raw(payload: &[u8]) -> Option<Result<Request, Rejection>> {
    let (images, rest) = payload.as_chunks();
    (rest.is_empty() && !images.is_empty()).then(|| {
        check_count(images.len())?;
        Ok(Request::Images(images.iter().copied().map(Image::new).collect()))
    })
}

/// The id in a Confluent Schema-Registry frame: byte 0x00, then the id, big-endian, from 1.
fn schema_registry_id(payload: &[u8]) -> Option<u32> {
    let (0x00, rest) = payload.split_first()? else { return None };
    Some(u32::from_be_bytes(*rest.first_chunk()?)).filter(|&id| id != 0)
}

fn schema_registry(id: u32) -> String {
    format!("Schema-Registry frames are not configured, found one of schema id {id}")
}

/// The first bytes as text, for a person to recognise.
fn beginning(payload: &[u8]) -> String {
    let shown = payload.get(..32).unwrap_or(payload);
    String::from_utf8_lossy(shown).into_owned()
}
