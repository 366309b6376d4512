//! Answers on their way to readers who may be slow, or never read.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::site::Site;

/// A smaller answer is not counted: what bounds those is the number of connections.
const SMALL_BYTES: usize = 64 << 10;
/// As much of an answer is copied for the network at once.
pub(crate) const PIECE_BYTES: usize = 32 << 10;

/// Counts a large answer until its reader has it, and refuses it where too many wait for theirs.
pub(crate) async fn bound(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let BodySize::Sized(bytes) = response.response().body().size() else { return Ok(response) };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes <= SMALL_BYTES {
        return Ok(response);
    }
    let site = response.request().app_data::<web::Data<Site>>().expect("every app has a site");
    match site.limits.answer(bytes) {
        Ok(room) => Ok(response.map_body(|_, body| match body.try_into_bytes() {
            Ok(bytes) => BoxBody::new(Answer { bytes, _room: room }),
            Err(body) => body,
        })),
        Err(busy) => Ok(response.error_response(busy)),
    }
}

/// A body in pieces, so that beside it no copy of the whole waits for the network.
struct Answer {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl MessageBody for Answer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = piece(&mut self.bytes);
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

/// Takes a piece off the front of `bytes`.
pub(crate) fn piece(bytes: &mut Bytes) -> Bytes {
    bytes.split_to(PIECE_BYTES.min(bytes.len()))
}
