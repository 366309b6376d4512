//! The transport alone: the conformance suite, and what is special about lines.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod held;
mod line;
mod transport;

use std::{
    io::{self, BufReader, PipeWriter, Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fmnist_core::transport::{
    Capabilities, DeadLetter, Guarantee, Limits, Outbound, Outcome, Settlement, Transport,
    TransportError,
    conformance::{self, Harness},
};
use line::Format;
use test_kit::Written;
use tokio::time::timeout;
use transport::{Lines, StdioTransport};

const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits { max_messages: 100, max_bytes: 1 << 20, max_wait: Duration::ZERO };

fn messages(written: &Written, format: Format) -> Vec<Outbound> {
    let written = Bytes::from(written.bytes());
    let lines = written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| format.read(&written.slice_ref(line)).unwrap()).collect()
}

struct Pipes {
    lines: Lines,
    input: Mutex<PipeWriter>,
    sent: AtomicUsize,
    results: Written,
    dead_letters: Written,
}

impl Pipes {
    fn new(format: Format, max_line_bytes: usize) -> Self {
        let (read, write) = io::pipe().unwrap();
        let (results, dead_letters) = (Written::default(), Written::default());
        let (out, letters) = (results.clone(), dead_letters.clone());
        let input = BufReader::new(read);
        let lines = Lines::start(format, max_line_bytes, input, out, letters).unwrap();
        Self { lines, input: Mutex::new(write), sent: AtomicUsize::new(0), results, dead_letters }
    }

    fn write(&self, bytes: &[u8]) {
        self.input.lock().unwrap().write_all(bytes).unwrap();
    }

    /// Ends the input, and waits until every line has its end.
    async fn finish(self) -> (Written, Written) {
        drop(self.input);
        timeout(PATIENCE, self.lines.held.finished()).await.expect("every line has its end");
        (self.results, self.dead_letters)
    }
}

impl Harness for Pipes {
    type Transport = StdioTransport;

    async fn connect(&self) -> StdioTransport {
        self.lines.consumer()
    }

    async fn send(&self, messages: Vec<Outbound>) -> Vec<String> {
        let mut ids = Vec::new();
        for message in messages {
            let mut line = Vec::new();
            Format::Envelope.write(&mut line, &message).unwrap();
            self.write(&line);
            ids.push(format!("stdin/{}", self.sent.fetch_add(1, Ordering::Relaxed) + 1));
        }
        ids
    }

    async fn results(&self) -> Vec<Outbound> {
        messages(&self.results, Format::Envelope)
    }

    async fn dead_letters(&self) -> Vec<Outbound> {
        messages(&self.dead_letters, Format::Envelope)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

#[tokio::test]
async fn the_transport_passes_the_conformance_suite() {
    let claimed = Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true).with_attempts(true);
    conformance::run(claimed, async || Pipes::new(Format::Envelope, 1 << 20)).await;
}

/// Answers `count` lines with their own payloads.
async fn echo(transport: &mut StdioTransport, count: usize) {
    let mut left = count;
    while left > 0 {
        let received = timeout(PATIENCE, transport.recv(LIMITS)).await.expect("in time");
        let deliveries = received.expect("received");
        left -= deliveries.len();
        let batch = deliveries.into_iter().map(|delivery| {
            let payload = delivery.payload.clone();
            (delivery, Outcome::Publish(vec![Outbound { payload, ..Outbound::default() }]))
        });
        transport.settle(batch.collect()).await.expect("written");
    }
}

#[tokio::test]
async fn lines_are_numbered_from_one_and_blank_ones_are_no_messages() {
    let pipes = Pipes::new(Format::Bare, 100);
    pipes.write(b"one\r\n\n  \nfour\nno end");
    let mut transport = pipes.lines.consumer();
    drop(pipes.input);
    let mut deliveries = Vec::new();
    while deliveries.len() < 3 {
        deliveries.extend(timeout(PATIENCE, transport.recv(LIMITS)).await.unwrap().unwrap());
    }
    let found: Vec<_> = deliveries.iter().map(|d| (&*d.id, &*d.payload)).collect();
    assert_eq!(found, [("stdin/1", &b"one"[..]), ("stdin/4", b"four"), ("stdin/5", b"no end")]);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_a_dead_letter_and_its_neighbours_are_answered() {
    let pipes = Pipes::new(Format::Bare, 2_000);
    let (fits, too_long) = ([b'f'; 2_000], [b'x'; 5_000]);
    for line in [&b"before"[..], &too_long, &fits, b"after"] {
        pipes.write(line);
        pipes.write(b"\n");
    }
    echo(&mut pipes.lines.consumer(), 3).await;
    let (results, letters) = pipes.finish().await;
    let payloads = messages(&results, Format::Bare).into_iter().map(|result| result.payload);
    assert_eq!(payloads.collect::<Vec<_>>(), [&b"before"[..], &fits, b"after"]);
    let letters = messages(&letters, Format::Envelope);
    assert_eq!((letters.len(), &*letters[0].payload), (1, &too_long[..1_024]));
    let letter = DeadLetter::read(letters[0].clone()).expect("a dead letter");
    assert_eq!((&*letter.id, &*letter.stage), ("stdin/2", "DECODE"));
    assert_eq!(
        letter.reason,
        "expected a line of at most 2000 bytes, found 5001; this is its beginning"
    );
}

#[tokio::test]
async fn a_byte_order_mark_before_the_lines_is_no_part_of_them() {
    let pipes = Pipes::new(Format::Envelope, 2_000);
    pipes.write("\u{feff}{\"attributes\": [], \"payload\": \"a\"}\n".as_bytes());
    let mut transport = pipes.lines.consumer();
    let delivery = transport.recv(LIMITS).await.unwrap().remove(0);
    assert_eq!(&*delivery.payload, b"a");
    transport.settle(vec![(delivery, Outcome::Recorded)]).await.unwrap();
    let (_, letters) = pipes.finish().await;
    assert!(messages(&letters, Format::Envelope).is_empty());
}

#[tokio::test]
async fn a_line_that_is_no_envelope_is_a_dead_letter_untouched() {
    let pipes = Pipes::new(Format::Envelope, 2_000);
    pipes.write(b"{\"start_idx\": 0}\n{\"payload\": {\"base64\": \"%\"}}\n");
    let (results, letters) = pipes.finish().await;
    assert!(messages(&results, Format::Envelope).is_empty());
    let letters = messages(&letters, Format::Envelope);
    let payloads: Vec<_> = letters.iter().map(|letter| &*letter.payload).collect();
    assert_eq!(payloads, [&b"{\"start_idx\": 0}"[..], b"{\"payload\": {\"base64\": \"%\"}}"]);
    let reason = letters[1].attributes.text("__connect.errors.exception.message").unwrap();
    assert!(reason.starts_with("expected an envelope: base64: "), "{reason}");
}

/// The reader of results has gone away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_whose_result_was_not_taken_has_no_end() {
    let input = BufReader::new(&b"one\n"[..]);
    let lines = Lines::start(Format::Bare, 100, input, Closed, io::sink()).unwrap();
    let mut transport = lines.consumer();
    let delivery = transport.recv(LIMITS).await.unwrap().remove(0);
    let settled = transport.settle(vec![(delivery, Outcome::Publish(vec![Outbound::default()]))]);
    let error = settled.await.expect_err("stdout is closed");
    assert!(matches!(error, TransportError::Fatal { source: Some(_), .. }), "{error}");
    assert_eq!(lines.held.first_without_end(), Some(1));

    let again = transport.recv(LIMITS).await.unwrap().remove(0);
    assert_eq!((&*again.id, again.attempt), ("stdin/1", Some(2)));
    let recorded = transport.settle(vec![(again, Outcome::Recorded)]).await.unwrap();
    assert_eq!(recorded, Settlement { recorded: 1, ..Settlement::default() });
}

/// A stream whose other end does what nobody thought of.
struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("on purpose")
    }
}

impl Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("on purpose")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_thread_that_ends_early_ends_the_transport_and_is_named() {
    let input = BufReader::new(Panics);
    let lines = Lines::start(Format::Bare, 100, input, io::sink(), io::sink()).unwrap();
    let received = timeout(PATIENCE, lines.consumer().recv(LIMITS)).await.expect("in time");
    let error = received.expect_err("nobody reads").to_string();
    assert!(error.contains("the thread that reads lines ended early"), "{error}");

    let input = BufReader::new(&b"one\n"[..]);
    let lines = Lines::start(Format::Bare, 100, input, Panics, io::sink()).unwrap();
    let mut transport = lines.consumer();
    let delivery = transport.recv(LIMITS).await.unwrap().remove(0);
    let settled = transport.settle(vec![(delivery, Outcome::Publish(vec![Outbound::default()]))]);
    let error = timeout(PATIENCE, settled).await.expect("in time").expect_err("nobody writes");
    assert!(error.to_string().contains("the thread that writes lines ended early"), "{error}");
    let received = timeout(PATIENCE, transport.recv(LIMITS)).await.expect("in time");
    let error = received.expect_err("nothing would come of it").to_string();
    assert!(error.contains("the thread that writes lines ended early"), "{error}");
    assert_eq!(lines.held.first_without_end(), Some(1));
}
