//! A client that sends what it is told, well-formed or not.

use std::{convert::Infallible, net::SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use frontend_grpc::{Code, Status};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
#[derive(Clone)]
pub(crate) struct Client {
    requests: SendRequest<Body>,
    headers: HeaderMap,
}

/// What came back.
pub(crate) struct Answered {
    pub(crate) status: Status,
    pub(crate) message: Bytes,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &mut http2::Builder::new(TokioExecutor::new())).await
    }

    pub(crate) async fn connect_with(
        address: SocketAddr,
        builder: &mut http2::Builder<TokioExecutor>,
    ) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self { requests, headers: HeaderMap::new() }
    }

    /// With another header in each of its calls.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) async fn is_gone(&mut self) -> bool {
        while self.requests.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        true
    }

    /// A message that is answered by one.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, Status> {
        let answered = self.send(method, [framed(0, &message.encode_to_vec())]).await;
        match answered.status.code() {
            Code::Ok => Ok(A::decode(&answered.message[5..]).unwrap()),
            _ => Err(answered.status),
        }
    }

    /// The status of what is refused.
    pub(crate) async fn refused(&self, method: &str, message: &impl Message) -> Status {
        self.send(method, [framed(0, &message.encode_to_vec())]).await.status
    }

    /// Pieces of a body, and all of the answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Answered {
        let pieces: Vec<Bytes> = pieces.into_iter().collect();
        let response = self.begin(method, stream::iter(pieces)).await.unwrap();
        Answered::read(response).await
    }

    /// Pieces of a body that does not end, and all of the answer.
    pub(crate) async fn stall(&self, method: &str, piece: Bytes) -> Answered {
        let pieces = stream::iter([piece]).chain(stream::pending());
        Answered::read(self.begin(method, pieces).await.unwrap()).await
    }

    pub(crate) async fn begin(
        &self,
        method: &str,
        pieces: impl stream::Stream<Item = Bytes> + Send + 'static,
    ) -> hyper::Result<Response<Incoming>> {
        let body = StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync();
        let mut request = Request::post(format!("http://server{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let mut requests = self.requests.clone();
        requests.ready().await?;
        requests.send_request(request).await
    }
}

impl Answered {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["content-type"], "application/grpc");
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&head.headers);
        let status = status.or_else(|| Status::from_header_map(&trailers));
        Self { status: status.expect("every answer has a status"), message: body.to_bytes() }
    }
}

/// A message with its prefix.
pub(crate) fn framed(is_packed: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(is_packed);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}
