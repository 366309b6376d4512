//! One message each way: a byte that says whether it is packed, four of its length, and the message.
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>)

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::{HeaderMap, body::Incoming};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, metadata::MetadataValue};

use crate::shared::{Bounds, Fault, Shared};

const PREFIX_BYTES: usize = 5;
/// What is unpacked at once.
const PIECE_BYTES: usize = 64 << 10;

/// A message as it came; its room in memory is free when it is dropped.
pub(crate) struct Received {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Received {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn read<M: Message + Default>(&self) -> Result<M, Fault> {
        // The bytes of tensors stay where they are.
        M::decode(self.bytes.clone())
            .map_err(|error| Fault::Invalid(format!("the message can't be read: {error}")))
    }
}

/// The one message of a call, if it comes in time and there is room for it.
pub(crate) async fn receive<S: Shared>(
    shared: &S,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Received, Status> {
    let timeout = shared.bounds().read_timeout;
    let read = async {
        let mut budget = Budget { shared, bounds: shared.bounds(), room: None };
        let (is_packed, packed) = budget.collect(body).await?;
        if !is_packed {
            return Ok(Received { bytes: packed, _room: budget.room });
        }
        let mut unpacked = Budget { room: None, ..budget };
        let bytes = unpacked.unpack(headers, packed).await?;
        Ok(Received { bytes, _room: unpacked.room })
    };
    let read = tokio::time::timeout(timeout, read).await;
    read.unwrap_or_else(|_| Err(refuse::<S>(Fault::TooSlow { timeout })))
}

/// The message with what goes before it.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    // Room for an answer is counted in as many bits.
    bytes.put_u32(u32::try_from(length).expect("an answer has less than 4 GiB"));
    message.encode(&mut bytes).expect("there is room for it");
    bytes.freeze()
}

pub(crate) fn refuse<S: Shared>(fault: Fault) -> Status {
    S::Refusal::from(fault).into()
}

/// What a message may still take.
struct Budget<'s, S> {
    shared: &'s S,
    bounds: Bounds,
    room: Option<OwnedSemaphorePermit>,
}

impl<S: Shared> Budget<'_, S> {
    /// Whether the message is packed, and what is behind its length.
    async fn collect(&mut self, mut body: Incoming) -> Result<(bool, Bytes), Status> {
        let invalid = |reason: String| refuse::<S>(Fault::Invalid(reason));
        let (mut all, mut length) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| invalid("the message can't be read".to_owned()))?;
            let Ok(piece) = frame.into_data() else { continue };
            self.reserve(piece.len())?;
            all.extend_from_slice(&piece);
            if length.is_none() && all.len() >= PREFIX_BYTES {
                // What is too large is refused before it is received.
                length = Some(self.fitting((&all[1..]).get_u32() as usize)?);
            }
            if length.is_some_and(|length| all.len() > PREFIX_BYTES + length) {
                return Err(invalid("expected one message, found more".to_owned()));
            }
        }
        let Some(length) = length else {
            return Err(invalid("expected one message, found none".to_owned()));
        };
        let prefix = all.split_to(PREFIX_BYTES);
        if all.len() < length {
            let found = all.len();
            return Err(invalid(format!("expected a message of {length} bytes, found {found}")));
        }
        match prefix[0] {
            0 => Ok((false, all.freeze())),
            1 => Ok((true, all.freeze())),
            found => Err(invalid(format!("expected 0 or 1 before a message, found {found}"))),
        }
    }

    /// In pieces, so that no more of a bomb is unpacked than a message may have.
    async fn unpack(&mut self, headers: &HeaderMap, packed: Bytes) -> Result<Bytes, Status> {
        let packed = packed.reader();
        let mut reader: Box<dyn Read + Send> = match coding(headers) {
            Some("gzip") => Box::new(MultiGzDecoder::new(packed)),
            Some("deflate") => Box::new(ZlibDecoder::new(packed)),
            found => return Err(unknown(found.unwrap_or("none"))),
        };
        let mut all = BytesMut::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            // Others get their turn on this thread.
            tokio::task::yield_now().await;
            let length = reader.read(&mut piece).map_err(|_| {
                let reason = "the message is not packed as grpc-encoding says";
                refuse::<S>(Fault::Invalid(reason.to_owned()))
            })?;
            if length == 0 {
                return Ok(all.freeze());
            }
            self.fitting(all.len() + length)?;
            self.reserve(length)?;
            all.extend_from_slice(&piece[..length]);
        }
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Status> {
        self.shared.reserve(&mut self.room, bytes).map_err(Into::into)
    }

    fn fitting(&self, bytes: usize) -> Result<usize, Status> {
        let limit_bytes = self.bounds.max_message_bytes;
        match bytes <= limit_bytes {
            true => Ok(bytes),
            false => Err(refuse::<S>(Fault::TooLarge { limit_bytes })),
        }
    }
}

fn coding(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-encoding").and_then(|value| value.to_str().ok())
}

fn unknown(found: &str) -> Status {
    let reason = format!("expected grpc-encoding gzip, deflate or identity, found {found}");
    let mut status = Status::unimplemented(reason);
    let known = MetadataValue::from_static("identity,gzip,deflate");
    status.metadata_mut().insert("grpc-accept-encoding", known);
    status
}
