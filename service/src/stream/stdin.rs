//! Lines on stdin as messages, in their order; results on stdout, dead letters on stderr.

use std::{
    io::{self, BufRead, BufWriter, ErrorKind, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use stream_inference::transport::{
    Capabilities, DeadLetter, Delivery, Limits, Outbound, Outcome, Settlement, Transport,
    TransportError,
    memory::{MemoryBroker, MemoryToken, MemoryTransport},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use crate::Unread;

/// How far stdin is read ahead of the answers, in KiB. A line counts as 1 at least.
const ROOM: u32 = 16 << 10;
/// A longer line ends the input: a pipe without line ends would fill the memory.
const LONGEST_LINE: u64 = 16 << 20;

/// A memory broker between two pipes.
pub(crate) struct Lines {
    broker: MemoryBroker,
    consumer: MemoryTransport,
    shared: Arc<Shared>,
    /// To the thread that writes: a pipe that nobody empties holds it up, and nothing else.
    writes: SyncSender<Settled>,
}

/// What lines and their ends are counted by.
struct Shared {
    room: Semaphore,
    /// Lines that were read and have no end yet.
    open: AtomicUsize,
    /// Whoever read stdout has gone.
    is_unread: AtomicBool,
}

/// The input, as it ends.
pub(crate) struct Input {
    shared: Arc<Shared>,
    read: oneshot::Receiver<io::Result<()>>,
}

/// What is known of the lines when the pipeline has ended.
pub(crate) struct Left(Arc<Shared>);

impl Left {
    /// What the program ends with whose consumer `ended` so, and whose stdin was `read` so.
    pub(crate) fn judge(
        &self,
        ended: anyhow::Result<()>,
        read: io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.0.is_unread.load(Ordering::SeqCst) {
            return Err(Unread.into());
        }
        ended?;
        let open = self.0.open.load(Ordering::SeqCst);
        anyhow::ensure!(
            open == 0,
            "{open} lines that were read have no answer; a pipe keeps nothing"
        );
        read.context("stdin can't be read any further")
    }
}

/// What was settled at once, and who waits until it is written.
struct Settled {
    results: Vec<Outbound>,
    dead_letters: Vec<Outbound>,
    written: oneshot::Sender<io::Result<()>>,
}

impl Lines {
    pub(crate) fn start() -> io::Result<(Self, Input)> {
        let broker = MemoryBroker::new("stdin");
        let shared = Arc::new(Shared {
            room: Semaphore::new(ROOM as usize),
            open: AtomicUsize::new(0),
            is_unread: AtomicBool::new(false),
        });
        let (ended, read) = oneshot::channel();
        let reader = (broker.clone(), Arc::clone(&shared), Handle::current());
        // Not threads of the runtime, which would wait for them at the end; nothing can interrupt them.
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let (broker, shared, runtime) = reader;
            // Without a receiver the program is at its end.
            let _ = ended.send(send_lines(&broker, &shared, &runtime));
        })?;
        // There are no more settlements than lines in the room.
        let (writes, settled) = sync_channel(ROOM as usize);
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            write_settled(&settled, &writer);
        })?;
        let input = Input { shared: Arc::clone(&shared), read };
        Ok((Self { consumer: broker.consumer(), broker, shared, writes }, input))
    }

    pub(crate) fn left(&self) -> Left {
        Left(Arc::clone(&self.shared))
    }
}

fn write_settled(settled: &Receiver<Settled>, shared: &Shared) {
    for Settled { results, dead_letters, written } in settled {
        let done = write(&results, dead_letters);
        if matches!(&done, Err(error) if error.kind() == ErrorKind::BrokenPipe) {
            shared.is_unread.store(true, Ordering::SeqCst);
        }
        // Without a receiver the program is at its end.
        let _ = written.send(done);
    }
}

fn write(results: &[Outbound], dead_letters: Vec<Outbound>) -> io::Result<()> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    for result in results {
        stdout.write_all(&result.payload)?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    let mut stderr = BufWriter::new(io::stderr().lock());
    for letter in dead_letters {
        let payload = letter.payload.clone();
        if let Some(DeadLetter { id, stage, reason, .. }) = DeadLetter::read(letter) {
            write!(stderr, "dead letter {id} at {stage}: {reason}: ")?;
        }
        stderr.write_all(&payload)?;
        stderr.write_all(b"\n")?;
    }
    stderr.flush()
}

fn send_lines(broker: &MemoryBroker, shared: &Shared, runtime: &Handle) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        stdin.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 > LONGEST_LINE {
            let error = format!("a line is longer than {} MiB", LONGEST_LINE >> 20);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let Ok(taken) = runtime.block_on(shared.room.acquire_many(room_of(&line))) else {
            return Ok(());
        };
        taken.forget();
        shared.open.fetch_add(1, Ordering::SeqCst);
        // One key: lines are answered in their order.
        let key = Some("stdin".into());
        broker.send(Outbound { key, payload: line.into(), ..Outbound::default() });
    }
}

/// What a line takes of the room, at most all.
fn room_of(line: &[u8]) -> u32 {
    u32::try_from(line.len() / 1024 + 1).unwrap_or(ROOM).min(ROOM)
}

impl Input {
    /// Resolves when stdin has ended and every line has its end: all room is free then.
    pub(crate) async fn ended(self) -> io::Result<()> {
        let read = self.read.await;
        let read = read.map_err(|_| io::Error::other("the thread that reads it has panicked"));
        // What was read before an error is answered, too.
        self.shared.room.acquire_many(ROOM).await.map(drop).map_err(io::Error::other)?;
        read?
    }
}

impl Transport for Lines {
    type Token = MemoryToken;

    const NAME: &'static str = "stdin";

    fn capabilities(&self) -> Capabilities {
        self.consumer.capabilities()
    }

    /// Every result is a line of stdout, whatever topic it would go to.
    fn has_route(&self, _topic: &str) -> bool {
        true
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        self.consumer.recv(limits).await
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let ended = batch.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Retry));
        let rooms: Vec<u32> = ended.map(|(delivery, _)| room_of(&delivery.payload)).collect();
        let settled = self.consumer.settle(batch);
        let (results, dead_letters) = (self.broker.take_results(), self.broker.take_dead_letters());
        let (written, is_written) = oneshot::channel();
        let sent = self.writes.try_send(Settled { results, dead_letters, written });
        let shared = Arc::clone(&self.shared);
        async move {
            let fatal = |source: io::Error| TransportError::Fatal {
                context: "stdout or stderr can't be written".to_owned(),
                source: Some(source.into()),
            };
            sent.map_err(|_| fatal(io::Error::other("the thread that writes does not keep up")))?;
            let written = is_written.await;
            written
                .unwrap_or_else(|_| Err(io::Error::other("the thread that writes has panicked")))
                .map_err(fatal)?;
            let settlement = settled.await?;
            shared.open.fetch_sub(rooms.len(), Ordering::SeqCst);
            shared.room.add_permits(rooms.into_iter().sum::<u32>() as usize);
            Ok(settlement)
        }
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        self.consumer.drain(grace).await
    }
}
