use std::{
    io::{Cursor, Read},
    pin::Pin,
};

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::{self, HeaderMap},
    web::Payload,
};
use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use fmnist_core::{
    Image,
    image::{self, is_picture},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::{error::ApiError, limits::Limits, parameters::Parameters};

/// Files that one multipart request may carry.
const MAX_FILES: usize = 64;
/// The page's forms have a token and some numbers.
const MAX_FORM_BYTES: usize = 16 << 10;
/// What is unpacked at once.
const PIECE_BYTES: usize = 64 << 10;

const FORM: &str = "application/x-www-form-urlencoded";

/// An uploaded file: a picture, or 784 raw bytes; its room in memory is free when it is dropped.
pub(crate) struct Upload {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// Decodes and prepares; this takes milliseconds, so it belongs on a blocking thread.
    pub(crate) fn image(&self) -> Result<Image, ApiError> {
        let decoded = match Image::try_from(&self.bytes[..]) {
            Ok(raw) if !is_picture(&self.bytes) => Ok(raw),
            _ => image::decode_upload(&self.bytes),
        };
        decoded.map_err(|error| ApiError::Invalid(format!("the image can't be read: {error}")))
    }
}

/// The files of a multipart body, or the body itself; `limit_bytes` in all at most.
pub(crate) async fn receive(
    limits: &Limits,
    request: &HttpRequest,
    payload: Payload,
    limit_bytes: usize,
) -> Result<Vec<Upload>, ApiError> {
    let files = async {
        let mut budget = Budget::new(limits, limit_bytes);
        match media_type(request.headers()).as_deref() {
            Some("multipart/form-data") => {
                let body = unpacked(limits, request, payload, limit_bytes).await?;
                budget.files(Multipart::new(request.headers(), body)).await
            }
            // `curl --data-binary` says that everything is a form.
            None | Some(FORM | "application/octet-stream") => {
                let body = unpacked(limits, request, payload, limit_bytes).await?;
                Ok(vec![budget.collect(body).await?])
            }
            Some(picture) if picture.starts_with("image/") => {
                let body = unpacked(limits, request, payload, limit_bytes).await?;
                Ok(vec![budget.collect(body).await?])
            }
            Some(found) => Err(ApiError::MediaType {
                expected: "image/*, application/octet-stream or multipart/form-data",
                found: found.to_owned(),
            }),
        }
    };
    let mut files = limits.in_time(files).await?;
    // A form whose file was not chosen sends an empty part.
    files.retain(|file| !file.bytes.is_empty());
    if files.is_empty() {
        return Err(ApiError::Invalid(
            "no image: send one as the body, or as a file of a multipart form".to_owned(),
        ));
    }
    Ok(files)
}

/// The file of a request that takes one.
pub(crate) fn one(mut files: Vec<Upload>) -> Result<Upload, ApiError> {
    match (files.pop(), files.is_empty()) {
        (Some(upload), true) => Ok(upload),
        _ => Err(ApiError::Invalid("one image at a time, please".to_owned())),
    }
}

/// A body of `limit_bytes` at most.
pub(crate) async fn body(
    limits: &Limits,
    request: &HttpRequest,
    payload: Payload,
    limit_bytes: usize,
) -> Result<Upload, ApiError> {
    let read = async {
        let body = unpacked(limits, request, payload, limit_bytes).await?;
        Budget::new(limits, limit_bytes).collect(body).await
    };
    limits.in_time(read).await
}

/// The fields of one of the page's forms.
pub(crate) async fn form(
    limits: &Limits,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Parameters, ApiError> {
    let found = media_type(request.headers());
    if found.as_deref() != Some(FORM) {
        let found = found.unwrap_or_else(|| "none".to_owned());
        return Err(ApiError::MediaType { expected: FORM, found });
    }
    let body = body(limits, request, payload, MAX_FORM_BYTES).await?;
    let text = std::str::from_utf8(&body.bytes)
        .map_err(|_| ApiError::Invalid("the form is not UTF-8".to_owned()))?;
    Parameters::read(text)
}

/// The type of a body, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|media_type| !media_type.is_empty())
}

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// The body without the coding that it came in: in pieces, so that no more of a bomb is unpacked than
/// its reader takes.
async fn unpacked(
    limits: &Limits,
    request: &HttpRequest,
    payload: Payload,
    limit_bytes: usize,
) -> Result<Body, ApiError> {
    let mut coding = String::new();
    for value in request.headers().get_all(header::CONTENT_ENCODING) {
        coding += &String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    }
    let open: fn(Bytes) -> Box<dyn Read> = match coding.trim() {
        "" | "identity" => return Ok(Box::pin(payload)),
        "gzip" | "x-gzip" => |packed| Box::new(MultiGzDecoder::new(Cursor::new(packed))),
        "deflate" => inflate,
        _ => return Err(ApiError::Coding { found: coding }),
    };
    let packed = Budget::new(limits, limit_bytes).collect(payload).await?;
    let reader = open(packed.bytes.clone());
    let pieces = stream::unfold(Some((reader, packed)), |state| async move {
        let (mut reader, packed) = state?;
        // Others get their turn on this thread.
        tokio::task::yield_now().await;
        let mut piece = vec![0; PIECE_BYTES];
        match reader.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(piece.into()), Some((reader, packed))))
            }
            Err(_) => Some((Err(PayloadError::EncodingCorrupted), None)),
        }
    });
    Ok(Box::pin(pieces))
}

/// `deflate` is zlib's format (RFC 9110, 8.4.1.2), but some clients leave its head out.
fn inflate(packed: Bytes) -> Box<dyn Read> {
    let is_zlib = packed
        .first_chunk()
        .is_some_and(|head| head[0] & 0x0f == 8 && u16::from_be_bytes(*head).is_multiple_of(31));
    if is_zlib {
        Box::new(ZlibDecoder::new(Cursor::new(packed)))
    } else {
        Box::new(DeflateDecoder::new(Cursor::new(packed)))
    }
}

/// What may still be read of one request.
struct Budget<'l> {
    limits: &'l Limits,
    left_bytes: usize,
    limit_bytes: usize,
}

impl<'l> Budget<'l> {
    const fn new(limits: &'l Limits, limit_bytes: usize) -> Self {
        Self { limits, left_bytes: limit_bytes, limit_bytes }
    }

    async fn files(&mut self, mut parts: Multipart) -> Result<Vec<Upload>, ApiError> {
        let mut files = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| self.broken_form(&error))?;
            let is_file = is_file(&part);
            if is_file && files.len() == MAX_FILES {
                return Err(ApiError::Invalid(format!("more than {MAX_FILES} files")));
            }
            let upload = self.collect(part).await?;
            // Frameworks put fields of their own beside the picture.
            if is_file {
                files.push(upload);
            }
        }
        Ok(files)
    }

    async fn collect<E: Into<MultipartError>>(
        &mut self,
        mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Upload, ApiError> {
        let (mut all, mut room) = (BytesMut::new(), None);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.broken_form(&error.into()))?;
            self.left_bytes =
                self.left_bytes.checked_sub(chunk.len()).ok_or_else(|| self.too_large())?;
            self.limits.reserve(&mut room, chunk.len())?;
            all.extend_from_slice(&chunk);
        }
        Ok(Upload { bytes: all.freeze(), _room: room })
    }

    fn too_large(&self) -> ApiError {
        ApiError::TooLarge { limit_bytes: self.limit_bytes }
    }

    fn broken_form(&self, error: &MultipartError) -> ApiError {
        tracing::debug!(%error, "unreadable body");
        let reason = match error {
            MultipartError::Payload(PayloadError::Overflow) => return self.too_large(),
            MultipartError::Payload(PayloadError::EncodingCorrupted) => {
                "the body is not packed as Content-Encoding says"
            }
            MultipartError::Payload(_) => "the body can't be read",
            MultipartError::BoundaryMissing => {
                "the form's Content-Type has no boundary: leave the header to the client, which sets it"
            }
            MultipartError::Incomplete => "the form ends before its last boundary",
            MultipartError::ContentDispositionMissing
            | MultipartError::ContentDispositionNameMissing => {
                "a part of the form has no Content-Disposition: form-data with a name"
            }
            _ => "the form can't be read",
        };
        ApiError::Invalid(reason.to_owned())
    }
}

/// Whether a part is a picture, and not a field beside it.
fn is_file(part: &Field) -> bool {
    let named = part.content_disposition().is_some_and(|disposition| {
        disposition.get_filename().is_some() || disposition.get_filename_ext().is_some()
    });
    let typed = part.content_type().is_some_and(|media_type| {
        media_type.type_() == "image" || media_type.subtype() == "octet-stream"
    });
    named || typed || part.name() == Some("image")
}
