//! stdout and stderr of a program that has more to do than to print.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{oneshot, watch};

/// What waits for a reader before more is dropped.
const LIMIT_BYTES: usize = 1 << 20;

static STDOUT: LazyLock<Outlet> = LazyLock::new(|| Outlet::new(io::stdout()));
static STDERR: LazyLock<Outlet> =
    LazyLock::new(|| Outlet::start(io::stderr(), Complaints::InTheStream));

/// This process's stdout.
pub fn stdout() -> &'static Outlet {
    &STDOUT
}

/// This process's stderr, which logs go to, too.
pub fn stderr() -> &'static Outlet {
    &STDERR
}

/// A stream with a thread of its own that writes it: whoever prints never waits for whoever reads.
///
/// What is printed while a megabyte waits, and after the reader has gone, is dropped and counted.
/// Clones are the same stream.
#[derive(Clone)]
pub struct Outlet(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closed: watch::Sender<bool>,
    complaints: Complaints,
}

/// Where it is said that lines were dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Complaints {
    /// At once.
    InTheLog,
    /// Once it is read again: this is the log.
    InTheStream,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    is_writing: bool,
    is_closed: bool,
    dropped_lines: u64,
}

struct Piece {
    bytes: Vec<u8>,
    /// Who waits for the write.
    written: Option<oneshot::Sender<()>>,
}

impl Outlet {
    /// Starts the thread that writes to `output`.
    pub fn new(output: impl Write + Send + 'static) -> Self {
        Self::start(output, Complaints::InTheLog)
    }

    fn start(output: impl Write + Send + 'static, complaints: Complaints) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let closed = watch::Sender::new(false);
        let shared = Arc::new(Shared { state, changed, closed, complaints });
        let outlet = Self(Arc::clone(&shared));
        thread::spawn(move || shared.write_all(output));
        outlet
    }

    /// Prints without waiting; says whether there was room.
    pub fn print(&self, text: impl Into<Vec<u8>>) -> bool {
        let bytes = text.into();
        let mut state = self.0.state();
        // A piece that is larger than all room is taken by itself.
        let has_room = state.waiting.is_empty() || state.waiting_bytes + bytes.len() <= LIMIT_BYTES;
        if has_room && !state.is_closed {
            self.0.add(state, Piece { bytes, written: None });
            return true;
        }
        let is_first = state.dropped_lines == 0 && !state.is_closed;
        state.dropped_lines += lines(&bytes);
        drop(state);
        if is_first && self.0.complaints == Complaints::InTheLog {
            tracing::warn!("nobody reads stdout: what is printed is dropped");
        }
        false
    }

    /// Prints a line without waiting.
    pub fn line(&self, text: impl Display) {
        self.print(format!("{text}\n"));
    }

    /// Prints, and waits until it is written. Dropped, it may yet be written.
    ///
    /// # Errors
    /// When the stream is closed.
    pub async fn write(&self, text: impl Into<Vec<u8>>) -> io::Result<()> {
        let (written, answer) = oneshot::channel();
        self.0.add(self.0.state(), Piece { bytes: text.into(), written: Some(written) });
        // Nobody answers once the stream is closed.
        answer.await.map_err(|_| ErrorKind::BrokenPipe.into())
    }

    /// Waits until the reader has gone, which is noticed by a write.
    pub async fn closed(&self) {
        // The sender lives as long as this.
        drop(self.0.closed.subscribe().wait_for(|is_closed| *is_closed).await);
    }

    /// Waits for what was printed to be written, for `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let is_behind =
            |state: &mut State| !state.is_closed && (state.is_writing || !state.waiting.is_empty());
        drop(self.0.changed.wait_timeout_while(self.0.state(), patience, is_behind));
    }
}

/// For loggers: every write is a piece, and never fails.
impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// A stream that is closed takes nothing.
    fn add(&self, mut state: MutexGuard<'_, State>, piece: Piece) {
        if !state.is_closed {
            state.waiting_bytes += piece.bytes.len();
            state.waiting.push_back(piece);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Until the stream is closed.
    fn write_all(&self, mut output: impl Write) {
        loop {
            let is_idle = |state: &mut State| state.waiting.is_empty();
            let waited = self.changed.wait_while(self.state(), is_idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let pieces = mem::take(&mut state.waiting);
            let dropped_lines = mem::take(&mut state.dropped_lines);
            state.waiting_bytes = 0;
            state.is_writing = true;
            drop(state);

            let mut bytes: Vec<u8> =
                pieces.iter().flat_map(|piece| &piece.bytes).copied().collect();
            if dropped_lines > 0 && self.complaints == Complaints::InTheStream {
                let note =
                    format!("{dropped_lines} lines of this log were dropped: nobody read it\n");
                bytes.extend(note.into_bytes());
            }
            let is_closed = output.write_all(&bytes).and_then(|()| output.flush()).is_err();
            if self.complaints == Complaints::InTheLog {
                match (is_closed, dropped_lines) {
                    (true, _) => tracing::warn!("stdout is closed: what is printed is dropped"),
                    (false, 0) => {}
                    (false, _) => tracing::warn!(dropped_lines, "stdout is read again"),
                }
            }

            let mut state = self.state();
            state.is_writing = false;
            state.is_closed = is_closed;
            if is_closed {
                // With its senders: whoever waits hears of it.
                state.waiting.clear();
            }
            drop(state);
            self.changed.notify_all();
            if is_closed {
                self.closed.send_replace(true);
                return;
            }
            // An error means that nobody waits any more.
            for written in pieces.into_iter().filter_map(|piece| piece.written) {
                let _ = written.send(());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes of a test at most.
    const ENOUGH: usize = 1_024;

    /// Takes a write only when it is let.
    struct Gate {
        let_through: mpsc::Receiver<()>,
        seen: mpsc::SyncSender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.let_through.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            self.seen.send(bytes.to_vec()).expect("the test listens");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(complaints: Complaints) -> (Outlet, mpsc::SyncSender<()>, mpsc::Receiver<Vec<u8>>) {
        let ((gate, let_through), (seen, written)) =
            (mpsc::sync_channel(ENOUGH), mpsc::sync_channel(ENOUGH));
        (Outlet::start(Gate { let_through, seen }, complaints), gate, written)
    }

    fn line(length: usize) -> Vec<u8> {
        [vec![b'x'; length - 1], vec![b'\n']].concat()
    }

    #[test]
    fn what_is_printed_is_written_in_order() {
        let (outlet, gate, written) = gated(Complaints::InTheLog);
        outlet.line("first");
        gate.send(()).expect("the thread");
        assert_eq!(written.recv().expect("a write"), b"first\n");
        gate.send(()).expect("the thread");
        outlet.line("second");
        outlet.flush(Duration::from_secs(60));
        assert_eq!(written.recv().expect("a write"), b"second\n");
    }

    #[test]
    fn a_stream_that_nobody_reads_holds_nobody_up_and_says_what_it_lacks_once_it_is_read_again() {
        let (outlet, gate, written) = gated(Complaints::InTheStream);
        // The first is in the hands of the thread or waits, whichever: then a megabyte fills all room.
        let taken = (0..3 * LIMIT_BYTES / 1_024).filter(|_| outlet.print(line(1_024))).count();
        assert!((1_024..=2 * 1_024).contains(&taken), "{taken}");
        let (mut kept, mut dropped) = (0, 0);
        while kept + dropped < 3_072 {
            gate.send(()).expect("the thread");
            let bytes = written.recv_timeout(Duration::from_secs(60)).expect("a write");
            for line in String::from_utf8(bytes).expect("text").lines() {
                match line.split_once(" lines of this log were dropped: nobody read it") {
                    Some((count, _)) => dropped += count.parse::<usize>().expect("a number"),
                    None => kept += 1,
                }
            }
        }
        assert_eq!((kept, dropped), (taken, 3_072 - taken));
    }

    #[tokio::test]
    async fn who_waits_for_a_write_hears_of_it_and_of_the_end_of_the_reader() {
        let (outlet, gate, written) = gated(Complaints::InTheLog);
        gate.send(()).expect("the thread");
        outlet.write("kept\n").await.expect("a reader");
        assert_eq!(written.recv().expect("a write"), b"kept\n");
        drop(gate);
        for _ in 0..2 {
            let error = outlet.write("lost\n").await.expect_err("no reader");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        outlet.closed().await;
        assert!(!outlet.print("lost\n"));
        // Does not wait for what will never be written.
        outlet.flush(Duration::from_secs(600));
    }
}
