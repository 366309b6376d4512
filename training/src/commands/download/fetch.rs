//! One file from one mirror, in one HTTP exchange.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use fmnist_core::weights;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use ureq::{
    Agent,
    http::{Response, StatusCode, header},
};

use super::official::OfficialFile;
use crate::console::remark;

/// Why an exchange did not end with a sound file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Bytes so far are kept, and another try goes on from there.
    #[error("{reason} after {received} of {expected} bytes")]
    Interrupted { reason: String, received: u64, expected: u64 },
    /// This mirror does not have the file.
    #[error("the server answers {0}")]
    Refused(StatusCode),
    /// This mirror has another file of that name; nothing of it is kept.
    #[error("expected {expected}, found {found}; the file was not kept")]
    Wrong { expected: String, found: String },
    /// This machine cannot keep the file.
    #[error(transparent)]
    Disk(#[from] anyhow::Error),
}

/// How long a mirror is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// To connect.
    pub(super) connect: Duration,
    /// For the answer, and then for each next piece of it.
    pub(super) silence: Duration,
    /// Tries of one mirror that stalls or breaks off; a try that brings bytes starts the count anew.
    pub(super) attempts: u32,
    /// Pause after the first failed try; it doubles each time.
    pub(super) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            attempts: 4,
            pause: Duration::from_secs(1),
        }
    }
}

pub(super) struct Fetcher<'a> {
    folder: &'a Path,
    agent: Agent,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(folder: &'a Path, patience: Patience) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .build();
        Self { folder, agent: config.new_agent() }
    }

    /// Whether the complete file is there; a damaged one is not.
    pub(super) fn has(&self, file: &OfficialFile) -> anyhow::Result<bool> {
        let path = self.folder.join(file.name);
        Ok(path.exists() && sha256_of(&path)? == file.sha256)
    }

    /// Bytes of an unfinished file.
    pub(super) fn received(&self, file: &OfficialFile) -> u64 {
        fs::metadata(self.part(file)).map_or(0, |metadata| metadata.len())
    }

    fn part(&self, file: &OfficialFile) -> PathBuf {
        self.folder.join(format!("{}.part", file.name))
    }

    /// Asks for the missing bytes, checks the whole and puts it into place.
    pub(super) fn fetch(&self, file: &OfficialFile, url: &str) -> Result<(), Failure> {
        let part = self.part(file);
        let start = self.usable(file, &part)?;
        if start == file.bytes {
            return self.accept(file, &part);
        }
        let interrupted = |reason: String| Failure::Interrupted {
            reason,
            received: self.received(file),
            expected: file.bytes,
        };
        let mut request = self.agent.get(url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| interrupted(error.to_string()))?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if continues(&response, start) => start,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(interrupted(format!("the server answers {status}")));
            }
            status => return Err(Failure::Refused(status)),
        };
        let progress = progress(file, start)?;
        // One byte more than expected is enough to know that the file is another one.
        let body = response.into_body().into_reader().take(file.bytes - start + 1);
        let received = store(progress.wrap_read(body), &part, start)?;
        received.map_err(|error| interrupted(error.to_string()))?;
        if self.received(file) < file.bytes {
            return Err(interrupted("the connection ended".to_owned()));
        }
        match self.accept(file, &part) {
            Err(Failure::Wrong { .. }) if start > 0 => {
                Err(interrupted("an earlier part was damaged, so all of it was dropped".to_owned()))
            }
            accepted => accepted,
        }
    }

    /// Bytes of the part to go on from; a part that cannot become the file is removed.
    fn usable(&self, file: &OfficialFile, part: &Path) -> anyhow::Result<u64> {
        let kept = self.received(file);
        if kept < file.bytes || (kept == file.bytes && sha256_of(part)? == file.sha256) {
            return Ok(kept);
        }
        fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
        Ok(0)
    }

    /// Renames the part if its hash is right, else removes it.
    fn accept(&self, file: &OfficialFile, part: &Path) -> Result<(), Failure> {
        let bytes = self.received(file);
        let found = if bytes == file.bytes {
            format!("SHA-256 {}", sha256_of(part)?)
        } else {
            format!("more than {} bytes", file.bytes)
        };
        let expected = format!("SHA-256 {}", file.sha256);
        if found != expected {
            fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
            return Err(Failure::Wrong { expected, found });
        }
        let path = self.folder.join(file.name);
        fs::rename(part, &path).with_context(|| format!("cannot write {}", path.display()))?;
        remark!("{}: {} bytes, SHA-256 verified", file.name, file.bytes)?;
        Ok(())
    }
}

/// Whether a partial answer starts where the kept bytes end.
fn continues<T>(response: &Response<T>, start: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// Appends the body after the first `start` bytes of the part; what arrived before a network error
/// stays. The outer error is the disk's, the inner one the network's.
fn store(mut body: impl Read, part: &Path, start: u64) -> anyhow::Result<io::Result<()>> {
    let cannot_write = || format!("cannot write {}", part.display());
    let mut options = OpenOptions::new();
    let mut file = if start == 0 {
        options.write(true).create(true).truncate(true).open(part)
    } else {
        options.append(true).open(part)
    }
    .with_context(cannot_write)?;
    let mut buffer = vec![0; 64 << 10];
    let received = loop {
        match body.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => file.write_all(&buffer[..length]).with_context(cannot_write)?,
            Err(error) => break Err(error),
        }
    };
    file.sync_all().with_context(cannot_write)?;
    Ok(received)
}

fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(weights::sha256(&bytes))
}

/// A bar on a terminal, which goes with it; elsewhere one line at the start.
fn progress(file: &OfficialFile, start: u64) -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        remark!("{}: fetching {} bytes from byte {start}", file.name, file.bytes - start)?;
    }
    let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is constant");
    let bar = ProgressBar::new(file.bytes).with_style(style).with_prefix(file.name);
    Ok(bar.with_position(start).with_finish(ProgressFinish::AndClear))
}
