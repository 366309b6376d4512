//! Eight clients of the Open Inference Protocol, which are all answered; then twice as many uploads as a
//! running front end can classify, with pages open: what is answered, what is refused and how, and how
//! late the answers are. `scripts/load.sh` starts the demo and this.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fmnist_core::Image;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

/// Connections that keep the front end busy while its capacity is measured.
const BUSY_CONNECTIONS: usize = 4;
const PAGES: usize = 5;
/// Clients of the Open Inference Protocol, and the images in each of their requests.
const CLIENTS: usize = 8;
const CLIENT_IMAGES: usize = 64;
/// Requests a second of an unloaded front end.
const UNLOADED_RATE: u32 = 20;
const SHORT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads a front end beyond its capacity.
#[derive(Parser)]
struct Arguments {
    /// Where it listens
    #[arg(long)]
    address: SocketAddr,
    /// Its process, for its memory
    #[arg(long)]
    pid: u32,
    /// How long the load lasts
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Answers of one kind, and how long each took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    status: u16,
    says_when: bool,
}

#[derive(Default)]
struct Answers(BTreeMap<Kind, Vec<Duration>>);

impl Answers {
    fn accepted(&mut self) -> Result<&mut Vec<Duration>> {
        let kind = Kind { status: 200, says_when: false };
        let accepted = self.0.get_mut(&kind).context("nothing was accepted")?;
        accepted.sort();
        Ok(accepted)
    }

    fn describe(&self) -> String {
        let kind = |(kind, times): (&Kind, &Vec<Duration>)| {
            let when = if kind.says_when { " with Retry-After" } else { "" };
            format!("{} × {}{when}", times.len(), kind.status)
        };
        self.0.iter().map(kind).collect::<Vec<_>>().join(", ")
    }
}

/// Of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

struct Load {
    address: SocketAddr,
    request: Vec<u8>,
    idle: Mutex<Vec<TcpStream>>,
    answers: Mutex<Answers>,
}

impl Load {
    /// A picture to be classified.
    fn uploads(address: SocketAddr) -> Arc<Self> {
        let picture = Image::from_fn(|row, column| (row * column % 256) as u8).to_png();
        Self::new(address, "/classify", &picture)
    }

    /// A batch of a client of the Open Inference Protocol.
    fn batches(address: SocketAddr) -> Arc<Self> {
        let pixels = vec!["1"; CLIENT_IMAGES * Image::PIXELS].join(",");
        let body = format!(
            r#"{{"inputs": [{{"name": "image", "shape": [{CLIENT_IMAGES}, 784], "datatype": "UINT8", "data": [{pixels}]}}]}}"#
        );
        Self::new(address, "/v2/models/base/infer", body.as_bytes())
    }

    fn new(address: SocketAddr, path: &str, body: &[u8]) -> Arc<Self> {
        let length = body.len();
        let mut request =
            format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n")
                .into_bytes();
        request.extend(body);
        Arc::new(Self { address, request, idle: Mutex::default(), answers: Mutex::default() })
    }

    /// One upload that was due at `due`.
    async fn upload(&self, due: Instant) -> Result<u16> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (mut stream, is_old) = match idle {
            Some(stream) => (stream, true),
            None => (TcpStream::connect(self.address).await?, false),
        };
        let mut answered = exchange(&mut stream, &self.request).await;
        if is_old && answered.as_ref().is_err_and(|error| error.is::<std::io::Error>()) {
            // The server ends connections that were idle for a while.
            stream = TcpStream::connect(self.address).await?;
            answered = exchange(&mut stream, &self.request).await;
        }
        let kind = answered?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.0.entry(kind).or_default().push(due.elapsed());
        drop(answers);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(kind.status)
    }

    fn take(&self) -> Answers {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many a second, each when it is due, whether those before are answered or not.
    async fn steady(self: &Arc<Self>, a_second: f64, length: Duration) -> Result<Answers> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / a_second));
        let (begun, mut uploads) = (Instant::now(), JoinSet::new());
        while begun.elapsed() < length {
            let due = ticks.tick().await;
            let this = Arc::clone(self);
            uploads.spawn(async move { timeout(PATIENCE, this.upload(due)).await });
            while let Some(ended) = uploads.try_join_next() {
                ended???;
            }
        }
        while let Some(ended) = uploads.join_next().await {
            ended???;
        }
        Ok(self.take())
    }

    /// One after the other on each of so many connections.
    async fn busy(self: &Arc<Self>, connections: usize, length: Duration) -> Result<Answers> {
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let this = Arc::clone(self);
            clients.spawn(async move {
                while begun.elapsed() < length {
                    this.upload(Instant::now()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(self.take())
    }
}

/// Sends a request and reads its answer.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Kind> {
    stream.write_all(request).await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        answer.extend_from_slice(&buffer[..count]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end])?;
        let value = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim())
        };
        let length: usize = value("content-length:").context("no length")?.parse()?;
        if answer.len() >= end + 4 + length {
            let status = head.split(' ').nth(1).context("no status")?.parse()?;
            return Ok(Kind { status, says_when: value("retry-after:").is_some() });
        }
    }
}

/// A page that shows results as they come.
async fn page(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /results/stream HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "a page's stream ended");
    }
}

/// A figure of `/proc/PID/status`.
fn memory_mib(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no such figure")?;
    Ok(kib.parse::<u64>()? / 1024)
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { address, pid, seconds, .. } = Arguments::parse();
    let batches = Load::batches(address);
    let answers = batches.busy(CLIENTS, SHORT).await?;
    println!("{CLIENTS} clients with {CLIENT_IMAGES} images a request: {}", answers.describe());
    ensure!(answers.0.keys().all(|kind| kind.status != 503), "a small load is refused");

    let load = Load::uploads(address);
    let mut pages = JoinSet::new();
    (0..PAGES).for_each(|_| drop(pages.spawn(page(address))));

    let mut unloaded = load.steady(UNLOADED_RATE.into(), SHORT).await?;
    let unloaded = unloaded.accepted()?;
    let (median, p99) = (percentile(unloaded, 50), percentile(unloaded, 99));
    println!("unloaded: median {median:.1?}, p99 {p99:.1?}");
    let answered = load.busy(BUSY_CONNECTIONS, SHORT).await?.accepted()?.len();
    let capacity = answered as f64 / SHORT.as_secs_f64();
    println!("capacity: {capacity:.0}/s on {BUSY_CONNECTIONS} connections");
    // The rate's burst is over by then.
    sleep(Duration::from_secs(2)).await;

    let before = memory_mib(pid, "VmRSS:")?;
    let mut loaded = load.steady(2.0 * capacity, Duration::from_secs(seconds)).await?;
    let over = Instant::now();
    while load.upload(Instant::now()).await? != 200 {}
    let recovery = over.elapsed();
    println!("{:.0}/s for {seconds} s: {}", 2.0 * capacity, loaded.describe());
    let clean = loaded.0.keys().all(|kind| kind.status == 200 || kind.says_when);
    let accepted = loaded.accepted()?;
    let (loaded_median, loaded_p99) = (percentile(accepted, 50), percentile(accepted, 99));
    println!(
        "accepted: {:.0}/s, median {loaded_median:.1?}, p99 {loaded_p99:.1?}, {:.1} times unloaded",
        accepted.len() as f64 / seconds as f64,
        loaded_p99.as_secs_f64() / p99.as_secs_f64()
    );
    let (after, most) = (memory_mib(pid, "VmRSS:")?, memory_mib(pid, "VmHWM:")?);
    println!("resident memory: {before} MiB before, {after} MiB after, at most {most} MiB");
    println!("recovery: the first answer {recovery:.1?} after the load");
    ensure!(clean, "refusals that do not say when to come again");
    ensure!(pages.try_join_next().is_none(), "a page's stream ended");
    Ok(())
}
