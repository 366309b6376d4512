use std::fmt::Display;

use actix_multipart::Multipart;
use actix_web::{HttpRequest, http::header, web::Payload};
use bytes::{Bytes, BytesMut};
use fmnist_core::{
    Image,
    image::{self, is_picture},
};
use futures_util::{Stream, StreamExt};

use tokio::sync::OwnedSemaphorePermit;

use crate::{error::ApiError, limits::Limits};

/// Files that one multipart request may carry.
const MAX_FILES: usize = 64;

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
    let budget = Budget { limits, left_bytes: limit_bytes, limit_bytes };
    limits.in_time(files(budget, request, payload)).await
}

async fn files(
    mut budget: Budget<'_>,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Vec<Upload>, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_form = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("multipart/form-data"));
    let mut files = Vec::new();
    if is_form {
        let mut parts = Multipart::new(request.headers(), payload);
        while let Some(part) = parts.next().await {
            if files.len() == MAX_FILES {
                return Err(ApiError::Invalid(format!("more than {MAX_FILES} files")));
            }
            files.push(budget.collect(part.map_err(broken)?).await?);
        }
    } else {
        files.push(budget.collect(payload).await?);
    }
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
    payload: Payload,
    limit_bytes: usize,
) -> Result<Upload, ApiError> {
    let mut budget = Budget { limits, left_bytes: limit_bytes, limit_bytes };
    limits.in_time(budget.collect(payload)).await
}

/// What may still be read of one request.
struct Budget<'l> {
    limits: &'l Limits,
    left_bytes: usize,
    limit_bytes: usize,
}

impl Budget<'_> {
    async fn collect<E: Display>(
        &mut self,
        mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Upload, ApiError> {
        let (mut all, mut room) = (BytesMut::new(), None);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(broken)?;
            self.left_bytes = self
                .left_bytes
                .checked_sub(chunk.len())
                .ok_or(ApiError::TooLarge { limit_bytes: self.limit_bytes })?;
            self.limits.reserve(&mut room, &chunk)?;
            all.extend_from_slice(&chunk);
        }
        Ok(Upload { bytes: all.freeze(), _room: room })
    }
}

fn broken(error: impl Display) -> ApiError {
    tracing::debug!(%error, "unreadable body");
    ApiError::Invalid("the body can't be read".to_owned())
}
