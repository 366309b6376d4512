//! Answers on their way to readers who may be slow, or never read.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use hyper::{
    HeaderMap, Response,
    body::{Body, Frame},
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;

use crate::calls::{Calls, OpenCall};

/// As much of an answer is handed over at once.
const PIECE_BYTES: usize = 32 << 10;

/// The body of an answer. A refusal, which is all head, has none.
#[derive(Default)]
pub(crate) struct Answer {
    messages: Messages,
    trailers: Option<HeaderMap>,
    _call: Option<OpenCall>,
}

#[derive(Default)]
enum Messages {
    #[default]
    None,
    One {
        bytes: Bytes,
        /// Of all of it.
        _room: OwnedSemaphorePermit,
        /// Told when a piece is taken.
        taken: watch::Sender<()>,
    },
    Stream(BoxStream<'static, Bytes>),
}

/// One message. Its connection ends where nothing of it is taken for `timeout`: as long as a client does
/// not read, its room in memory is taken.
pub(crate) fn one(
    message: Bytes,
    room: OwnedSemaphorePermit,
    calls: &Arc<Calls>,
    timeout: Duration,
) -> Response<Answer> {
    let (taken, mut taking) = watch::channel(());
    let calls = Arc::clone(calls);
    tokio::spawn(async move {
        loop {
            match tokio::time::timeout(timeout, taking.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return calls.cut_off(),
            }
        }
    });
    found(Messages::One { bytes: message, _room: room, taken })
}

/// Messages as they come.
pub(crate) fn stream(messages: BoxStream<'static, Bytes>) -> Response<Answer> {
    found(Messages::Stream(messages))
}

fn found(messages: Messages) -> Response<Answer> {
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Answer { messages, trailers: Some(trailers), _call: None });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

impl Answer {
    /// Counts its call until it is gone.
    pub(crate) fn of(self, call: OpenCall) -> Self {
        Self { _call: Some(call), ..self }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.messages {
            Messages::None => None,
            Messages::One { bytes, taken, .. } => {
                taken.send_replace(());
                let piece = bytes.split_to(PIECE_BYTES.min(bytes.len()));
                (!piece.is_empty()).then_some(piece)
            }
            Messages::Stream(messages) => ready!(messages.as_mut().poll_next(context)),
        };
        let frame = piece.map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.messages, Messages::None) && self.trailers.is_none()
    }
}
