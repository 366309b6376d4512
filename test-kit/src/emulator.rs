//! Google's Pub/Sub emulator.
//!
//! [`proxy`] makes up for a fault of it (0.8.20): it does not notice when a client cancels a stream
//! or goes away. The dead stream goes on taking messages, one acknowledge deadline each, and an
//! ordering key that fell to it is never delivered again. A stream that the client *ends* is
//! noticed, so this proxy ends what clients cancel. Google's servers need nothing of the kind.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// How long the emulator may take to see the end of a stream; it looks every 50 ms.
const FAREWELL: Duration = Duration::from_secs(1);

// HTTP/2, RFC 9113 sections 3.4, 4.1 and 6.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;

/// Starts a proxy for the emulator at `emulator`; returns its address.
///
/// # Panics
/// If no port is free.
pub async fn proxy(emulator: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&emulator).await.expect("the emulator");
            tokio::spawn(forward(client, server));
        }
    });
    address
}

async fn forward(client: TcpStream, server: TcpStream) {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let upstream = tokio::spawn(requests(from_client, to_server));
    // Ends with an error when the client is gone; the emulator still needs to be listened to.
    let _ = copy(&mut from_server, &mut to_client).await;
    let _ = timeout(FAREWELL, copy(&mut from_server, &mut sink())).await;
    drop(upstream.await);
}

/// Forwards requests until the client is gone, then ends every stream that is still open.
async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = Vec::new();
    let mut streams = Streams::default();
    while let Ok(1..) = from.read_buf(&mut buffer).await {
        let forwarded = streams.translate(&mut buffer);
        if to.write_all(&forwarded).await.is_err() {
            return;
        }
    }
    let ends: Vec<u8> = streams.open.iter().flat_map(|&stream| end(stream)).collect();
    let _ = to.write_all(&ends).await;
    tokio::time::sleep(FAREWELL).await;
}

#[derive(Default)]
struct Streams {
    is_http2: bool,
    open: BTreeSet<u32>,
}

impl Streams {
    /// Takes the whole frames out of `buffer`; returns what is to be sent instead.
    fn translate(&mut self, buffer: &mut Vec<u8>) -> Vec<u8> {
        if !self.is_http2 {
            if buffer.len() < PREFACE.len() && PREFACE.starts_with(buffer) {
                return Vec::new();
            }
            if !buffer.starts_with(PREFACE) {
                return std::mem::take(buffer);
            }
            self.is_http2 = true;
            let mut forwarded: Vec<u8> = buffer.drain(..PREFACE.len()).collect();
            forwarded.extend(self.translate(buffer));
            return forwarded;
        }
        let mut forwarded = Vec::new();
        while let Some(length) = frame_bytes(buffer).filter(|&length| length <= buffer.len()) {
            let frame: Vec<u8> = buffer.drain(..length).collect();
            let (kind, flags) = (frame[3], frame[4]);
            let stream = u32::from_be_bytes([frame[5] & 0x7f, frame[6], frame[7], frame[8]]);
            match kind {
                HEADERS if flags & END_STREAM == 0 => drop(self.open.insert(stream)),
                DATA if flags & END_STREAM != 0 => drop(self.open.remove(&stream)),
                RST_STREAM if self.open.remove(&stream) => {
                    forwarded.extend(end(stream));
                    continue;
                }
                GOAWAY => continue,
                _ => {}
            }
            forwarded.extend(frame);
        }
        forwarded
    }
}

fn frame_bytes(buffer: &[u8]) -> Option<usize> {
    let &[high, middle, low, ..] = buffer else { return None };
    let payload = u32::from_be_bytes([0, high, middle, low]) as usize;
    (buffer.len() >= HEADER_BYTES).then_some(HEADER_BYTES + payload)
}

/// An empty DATA frame that ends the stream.
fn end(stream: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = stream.to_be_bytes();
    [0, 0, 0, DATA, END_STREAM, a, b, c, d]
}
