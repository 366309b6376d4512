//! Lines on stdin as messages, in their order; results on stdout, dead letters on stderr.

use std::{
    io::{self, BufRead, BufWriter, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use stream_inference::transport::{
    Capabilities, DeadLetter, Delivery, Limits, Outbound, Outcome, Settlement, Transport,
    TransportError,
    memory::{MemoryBroker, MemoryToken, MemoryTransport},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

/// How far stdin is read ahead of the answers, in KiB. A line counts as 1 at least.
const ROOM: u32 = 16 << 10;

/// A memory broker between two pipes.
pub(crate) struct Lines {
    broker: MemoryBroker,
    consumer: MemoryTransport,
    room: Arc<Semaphore>,
}

/// The input, as it ends.
pub(crate) struct Input {
    room: Arc<Semaphore>,
    read: oneshot::Receiver<io::Result<()>>,
}

impl Lines {
    pub(crate) fn start() -> io::Result<(Self, Input)> {
        let (broker, room) = (MemoryBroker::new("stdin"), Arc::new(Semaphore::new(ROOM as usize)));
        let (ended, read) = oneshot::channel();
        let reader = (broker.clone(), Arc::clone(&room), Handle::current());
        // Not a thread of the runtime, which would wait for it at the end; nothing can interrupt a read.
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let (broker, room, runtime) = reader;
            // Without a receiver the program is at its end.
            let _ = ended.send(send_lines(&broker, &room, &runtime));
        })?;
        let input = Input { room: Arc::clone(&room), read };
        Ok((Self { consumer: broker.consumer(), broker, room }, input))
    }

    pub(crate) const fn broker(&self) -> &MemoryBroker {
        &self.broker
    }

    /// Writes what was settled since the last time. A pipe that nobody empties is waited for: that is
    /// this program's backpressure.
    fn write(&self) -> io::Result<()> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        for result in self.broker.take_results() {
            stdout.write_all(&result.payload)?;
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        let mut stderr = BufWriter::new(io::stderr().lock());
        for letter in self.broker.take_dead_letters() {
            let payload = letter.payload.clone();
            if let Some(DeadLetter { id, stage, reason, .. }) = DeadLetter::read(letter) {
                write!(stderr, "dead letter {id} at {stage}: {reason}: ")?;
            }
            stderr.write_all(&payload)?;
            stderr.write_all(b"\n")?;
        }
        stderr.flush()
    }
}

fn send_lines(broker: &MemoryBroker, room: &Semaphore, runtime: &Handle) -> io::Result<()> {
    for line in io::stdin().lock().split(b'\n') {
        let line = line?;
        let Ok(taken) = runtime.block_on(room.acquire_many(room_of(&line))) else { break };
        taken.forget();
        // One key: lines are answered in their order.
        let key = Some("stdin".into());
        broker.send(Outbound { key, payload: line.into(), ..Outbound::default() });
    }
    Ok(())
}

/// What a line takes of the room, at most all.
fn room_of(line: &[u8]) -> u32 {
    u32::try_from(line.len() / 1024 + 1).unwrap_or(ROOM).min(ROOM)
}

impl Input {
    /// Resolves when stdin has ended and every line has its end: all room is free then.
    pub(crate) async fn ended(self) -> io::Result<()> {
        self.read
            .await
            .map_err(|_| io::Error::other("the thread that reads it has panicked"))??;
        self.room.acquire_many(ROOM).await.map(drop).map_err(io::Error::other)
    }
}

impl Transport for Lines {
    type Token = MemoryToken;

    fn capabilities(&self) -> Capabilities {
        self.consumer.capabilities()
    }

    fn name(&self) -> &'static str {
        "stdin"
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        self.consumer.recv(limits).await
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let ended = batch.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Retry));
        let freed: u32 = ended.map(|(delivery, _)| room_of(&delivery.payload)).sum();
        let settled = self.consumer.settle(batch);
        let written = self.write();
        let room = Arc::clone(&self.room);
        async move {
            let context = "stdout or stderr can't be written".to_owned();
            written
                .map_err(|error| TransportError::Fatal { context, source: Some(error.into()) })?;
            let settlement = settled.await?;
            room.add_permits(freed as usize);
            Ok(settlement)
        }
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        self.consumer.drain(grace).await
    }
}
