//! The transport: a thread that reads, a thread that writes, and the lines between them.

use std::{
    io::{self, BufRead, Read, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use fmnist_core::{
    Supervisor,
    transport::{
        Capabilities, Delivery, Guarantee, Limits, Outbound, Outcome, Rejection, Settlement, Stage,
        Transport, TransportError, dead_letter,
    },
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    held::{Claim, Held, MOST_LINES, NAME},
    line::Format,
};

/// What a dead letter keeps of a line that is too long.
const BEGINNING_BYTES: usize = 1_024;

/// Lines come in on one stream, and results go out on another, as with a program in a shell pipe.
#[derive(Clone)]
pub(crate) struct Lines {
    pub(crate) held: Held,
    jobs: mpsc::SyncSender<Job>,
    supervisor: Supervisor,
}

type Outcomes = Vec<(Delivery<Claim>, Outcome)>;

struct Job {
    outcomes: Outcomes,
    /// Nobody waits where the reader itself refused a line.
    done: Option<oneshot::Sender<io::Result<Settlement>>>,
}

impl Lines {
    /// Starts to read. Dead letters are envelopes, whatever the format is.
    pub(crate) fn start(
        format: Format,
        max_line_bytes: usize,
        input: impl BufRead + Send + 'static,
        results: impl Write + Send + 'static,
        dead_letters: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        // A settlement has at least one held line, so there is always room for its job.
        let (jobs, waiting) = mpsc::sync_channel(MOST_LINES);
        let lines = Self { held: Held::default(), jobs, supervisor: Supervisor::new() };
        let held = lines.held.clone();
        let mut writer = Writer { format, results, dead_letters, held };
        let part = lines.supervisor.part("thread that writes lines");
        thread::Builder::new().name("stdio-write".to_owned()).spawn(move || {
            for Job { outcomes, done } in waiting {
                let settled = writer.carry_out(outcomes);
                if let (Err(error), None) = (&settled, &done) {
                    tracing::warn!(%error, "a dead letter was not written");
                }
                // An error means that the caller went away, which cancels nothing.
                let _ = done.map(|done| done.send(settled));
            }
            part.done();
        })?;
        let (reader, part) = (lines.clone(), lines.supervisor.part("thread that reads lines"));
        thread::Builder::new().name("stdio-read".to_owned()).spawn(move || {
            let ended = reader.read(format, max_line_bytes, input);
            reader.held.end(ended);
            part.done();
        })?;
        Ok(lines)
    }

    /// A consumer of the lines; several share them.
    pub(crate) fn consumer(&self) -> StdioTransport {
        StdioTransport(self.clone())
    }

    fn read(&self, format: Format, max_bytes: usize, mut input: impl BufRead) -> io::Result<()> {
        for number in 1.. {
            let mut line = Vec::new();
            let limit = max_bytes as u64 + 1;
            input.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            if line.last() != Some(&b'\n') && line.len() > max_bytes {
                let rest = input.skip_until(b'\n')?;
                let found = line.len() + rest;
                line.truncate(BEGINNING_BYTES);
                let reason = format!(
                    "expected a line of at most {max_bytes} bytes, found {found}; this is its beginning"
                );
                self.refuse(number, line.into(), reason);
                continue;
            }
            let line = Bytes::from(line);
            let line = line.slice_ref(line.trim_ascii_end());
            if line.is_empty() {
                continue;
            }
            match format.read(&line) {
                Ok(message) => self.held.push(number, message),
                Err(reason) => self.refuse(number, line, reason),
            }
        }
        Ok(())
    }

    /// Sends a line to the dead letters that can't become a message.
    fn refuse(&self, number: u64, payload: Bytes, reason: String) {
        let message = Outbound { payload, ..Outbound::default() };
        let delivery = self.held.push_leased(number, message);
        let outcome = Outcome::Reject(Rejection::new(Stage::Decode, reason));
        // The writer lives as long as this.
        let _ = self.jobs.send(Job { outcomes: vec![(delivery, outcome)], done: None });
    }
}

/// One consumer of [`Lines`].
pub(crate) struct StdioTransport(Lines);

impl Transport for StdioTransport {
    type Token = Claim;

    const NAME: &'static str = NAME;

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true).with_attempts(true)
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<Claim>>, TransportError> {
        let Lines { held, supervisor, .. } = &self.0;
        tokio::select! {
            // Without one of the threads nothing would come of what is received.
            biased;
            Some(reason) = supervisor.ended() => Err(fatal(reason.to_string(), None)),
            received = held.lease(limits) => received,
        }
    }

    fn settle(
        &mut self,
        outcomes: Outcomes,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let (done, settled) = oneshot::channel();
        // An error drops `done`, too.
        let _ = self.0.jobs.try_send(Job { outcomes, done: Some(done) });
        let supervisor = self.0.supervisor.clone();
        async move {
            match settled.await {
                Ok(settled) => settled.map_err(|error| {
                    fatal("results or dead letters can't be written".to_owned(), Some(error))
                }),
                // Only the thread's end leaves a job without an answer; the part says so in a moment.
                Err(_) => {
                    let reason = supervisor.ended().await;
                    Err(fatal(reason.as_deref().unwrap_or("nothing writes lines").to_owned(), None))
                }
            }
        }
    }

    async fn drain(mut self, grace: Duration) -> Result<(), TransportError> {
        // Jobs are done in order: when this one is, all are.
        let settled = timeout(grace, self.settle(Vec::new())).await;
        settled.map(drop).map_err(|_| TransportError::Aborted {
            context: format!("results were not taken within {grace:?}"),
            source: None,
        })
    }
}

fn fatal(context: String, source: Option<io::Error>) -> TransportError {
    TransportError::Fatal { context, source: source.map(Into::into) }
}

struct Writer<R, D> {
    format: Format,
    results: R,
    dead_letters: D,
    held: Held,
}

impl<R: Write, D: Write> Writer<R, D> {
    /// Writes and flushes what the outcomes say, and only then lets go of the lines. After an error
    /// the lines go back to those that wait.
    fn carry_out(&mut self, outcomes: Outcomes) -> io::Result<Settlement> {
        let mut settlement = Settlement::default();
        let mut ended = Vec::new();
        for (delivery, outcome) in outcomes {
            if !self.held.is_held(&delivery.token) {
                settlement.retried += 1;
                continue;
            }
            match outcome {
                Outcome::Publish(results) => {
                    for result in &results {
                        self.format.write(&mut self.results, result)?;
                    }
                    settlement.published += 1;
                }
                Outcome::Recorded => settlement.recorded += 1,
                Outcome::Filtered => settlement.filtered += 1,
                Outcome::Reject(rejection) => {
                    let letter = dead_letter(&delivery, &rejection);
                    Format::Envelope.write(&mut self.dead_letters, &letter)?;
                    settlement.rejected += 1;
                }
                Outcome::Retry => {
                    self.held.give_back(&delivery.token);
                    settlement.retried += 1;
                    continue;
                }
            }
            ended.push(delivery);
        }
        self.results.flush()?;
        self.dead_letters.flush()?;
        ended.iter().for_each(|delivery| self.held.release(&delivery.token));
        Ok(settlement)
    }
}
