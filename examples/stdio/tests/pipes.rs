//! Two named pipes as a broker of the programs: `stdio < requests > results`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use fmnist_core::transport::{Outbound, PublishError, Publisher, TransportError};
use serde::{Deserialize, Serialize};
use service::{
    Broker, ConfigError, Later, Producer, Results, Role, SurveyArguments, config::Origins,
};
use tokio::sync::mpsc;

use crate::{held::NAME, line::Format, transport::Lines};

/// Lines that a page has not shown yet.
const UNSHOWN: usize = 16;

/// The section `stdio` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pipes {
    /// Where requests are written; empty where there is no such broker.
    requests: PathBuf,
    /// Where results are read.
    results: PathBuf,
}

impl Pipes {
    fn both(&self) -> [&Path; 2] {
        [&self.requests, &self.results]
    }

    /// What a consumer receives.
    pub(crate) fn lines(&self) -> anyhow::Result<Lines> {
        let (requests, results) = (BufReader::new(open(&self.requests)?), open(&self.results)?);
        Ok(Lines::start(Format::Envelope, 1 << 20, requests, results, io::sink())?)
    }

    fn absent(&self) -> impl Iterator<Item = &Path> {
        let is_pipe = |path: &&Path| fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo());
        self.both().into_iter().filter(move |path| !is_pipe(path))
    }
}

impl Broker for Pipes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "Named pipes"
    }

    fn is_configured(&self) -> bool {
        !self.requests.as_os_str().is_empty()
    }

    fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        if self.is_configured() && self.requests == self.results {
            let rule = "has to be another pipe than stdio.requests".to_owned();
            return Err(ConfigError::rule(origins, "stdio.results", rule));
        }
        Ok(())
    }

    fn results_topic(&self) -> Option<&str> {
        self.results.to_str()
    }

    fn producer(&self) -> Later<'_, anyhow::Result<Producer>> {
        Box::pin(async {
            let requests = open(&self.requests)?;
            Ok(Producer::new(NAME, Requests(Arc::new(Mutex::new((requests, 0))))))
        })
    }

    fn results(&self) -> Option<Later<'_, anyhow::Result<Box<dyn Results>>>> {
        Some(Box::pin(async {
            let results = BufReader::new(open(&self.results)?);
            let (sender, lines) = mpsc::channel(UNSHOWN);
            thread::Builder::new().spawn(move || {
                let lines = results.lines().map_while(Result::ok);
                lines.map(|line| sender.blocking_send(line)).find(Result::is_err)
            })?;
            Ok(Box::new(Shown(lines)) as Box<dyn Results>)
        }))
    }

    fn needs(&self, _role: Role) -> String {
        let [requests, results] = self.both().map(Path::display);
        format!("named pipes {requests} and {results}")
    }

    fn missing(&self, _role: Role) -> Later<'_, anyhow::Result<Vec<anyhow::Error>>> {
        let words = |path: &Path| {
            let path = path.display();
            anyhow!("there is no pipe {path}; make it: mkfifo {path}")
        };
        Box::pin(async move { Ok(self.absent().map(words).collect()) })
    }

    fn create<'a>(&'a self, _arguments: &'a SurveyArguments) -> Later<'a, anyhow::Result<()>> {
        Box::pin(async {
            for path in self.absent() {
                let made = Command::new("mkfifo").arg(path).status()?;
                ensure!(made.success(), "mkfifo {} ended with {made}", path.display());
            }
            Ok(())
        })
    }
}

/// Opened for both, no end waits for the other, nor sees one that comes and goes.
fn open(pipe: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(pipe);
    opened.with_context(|| format!("{} can't be opened", pipe.display()))
}

/// The pipe, and how many lines were written.
#[derive(Clone)]
struct Requests(Arc<Mutex<(File, u64)>>);

impl Publisher for Requests {
    async fn publish(&self, message: Outbound) -> Result<String, PublishError> {
        let mut line = Vec::new();
        let written = Format::Envelope.write(&mut line, &message).and_then(|()| {
            let mut pipe = self.0.lock().unwrap();
            pipe.0.write_all(&line)?;
            pipe.1 += 1;
            Ok(format!("stdin/{}", pipe.1))
        });
        written.map_err(|error| PublishError::Unavailable {
            context: "the pipe takes no line".to_owned(),
            source: Some(error.into()),
        })
    }
}

struct Shown(mpsc::Receiver<String>);

impl Results for Shown {
    fn next(&mut self) -> Later<'_, Result<Bytes, TransportError>> {
        Box::pin(async {
            let line = self.0.recv().await.ok_or("it is closed".to_owned());
            let message = line.and_then(|line| Format::Envelope.read(&line.into()));
            message
                .map(|message| message.payload)
                .map_err(|context| TransportError::Fatal { context, source: None })
        })
    }
}
