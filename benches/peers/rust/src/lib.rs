//! What every Rust peer has in common: it speaks JSON lines and keeps its own time.
//!
//! `../python/serve.py` is the same for the Python peers, and describes the protocol.

use std::{
    collections::HashMap,
    fmt, fs,
    hint::black_box,
    io::{self, BufRead, Write},
    path::PathBuf,
    time::Instant,
};

use anyhow::Context;
use fmnist_core::Image;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Images of one call when logits are asked for.
const LOGITS_BATCH: usize = 256;

/// A runtime with one model loaded.
pub trait Peer: Sized {
    /// A batch as the runtime wants it; making it isn't timed.
    type Input;
    /// What a call gives; dropping it isn't timed.
    type Output;

    /// Loads the model.
    fn load(load: Load) -> anyhow::Result<Self>;

    /// The name and the precision in tables.
    fn description(&self) -> Description;

    /// Makes a batch of images ready, and the runtime ready for a batch of that size.
    fn prepare(&mut self, images: &[Image]) -> anyhow::Result<Self::Input>;

    /// The call that is timed.
    fn run(&mut self, input: &Self::Input) -> anyhow::Result<Self::Output>;

    /// The logits of a batch, row by row.
    fn logits(&mut self, input: &Self::Input) -> anyhow::Result<Vec<f32>>;
}

/// What to load.
#[derive(Debug, Deserialize)]
pub struct Load {
    /// `base` or `notebook`.
    pub model: String,
    /// Which of the peer's engines, for a peer that has several.
    pub engine: String,
    /// Threads that a call may use.
    pub threads: usize,
    /// The model in the peer's own format.
    pub file: PathBuf,
    /// 784 bytes for each image.
    pub images: PathBuf,
    /// Mean of pixel / 255.
    pub mean: f32,
    /// Standard deviation of pixel / 255.
    pub deviation: f32,
}

impl Load {
    /// Pixels as the network wants them.
    pub fn normalised(&self, images: &[Image]) -> Vec<f32> {
        let pixels = images.iter().flat_map(|image| image.pixels());
        pixels.map(|&pixel| (f32::from(pixel) / 255.0 - self.mean) / self.deviation).collect()
    }
}

/// How a peer calls itself.
#[derive(Debug, Serialize)]
pub struct Description {
    /// With its version.
    pub name: String,
    /// `f32` or `int8`.
    pub precision: &'static str,
}

/// This build or this machine lacks what an engine needs; the others are compared all the same.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Load(Load),
    Logits { count: usize },
    Time { batch: usize, count: usize, seconds: f64 },
}

/// Answers requests until the input ends; a request that fails is answered too.
///
/// # Errors
/// If standard input or output fails.
pub fn serve<P: Peer>() -> anyhow::Result<()> {
    let mut session: Option<Session<P>> = None;
    for line in io::stdin().lock().lines() {
        let reply = answer(&mut session, &line?).unwrap_or_else(|error| match error.downcast() {
            Ok(Unsupported(reason)) => json!({"ok": false, "unsupported": reason}),
            Err(error) => json!({"ok": false, "error": format!("{error:#}")}),
        });
        println!("{reply}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn answer<P: Peer>(session: &mut Option<Session<P>>, line: &str) -> anyhow::Result<Value> {
    let request = serde_json::from_str(line)?;
    if let Request::Load(load) = request {
        let loaded = session.insert(Session::load(load)?);
        let Description { name, precision } = loaded.peer.description();
        return Ok(json!({"ok": true, "name": name, "precision": precision}));
    }
    let session = session.as_mut().context("no model is loaded")?;
    match request {
        Request::Load(_) => unreachable!("answered above"),
        Request::Logits { count } => {
            let logits = session.logits(count)?;
            Ok(json!({"ok": true, "logits": logits}))
        }
        Request::Time { batch, count, seconds } => {
            let call_us = session.time(batch, count, seconds)?;
            Ok(json!({"ok": true, "call_us": call_us}))
        }
    }
}

struct Session<P: Peer> {
    peer: P,
    images: Vec<Image>,
    /// Prepared batches by their size.
    prepared: HashMap<usize, Vec<P::Input>>,
}

impl<P: Peer> Session<P> {
    fn load(load: Load) -> anyhow::Result<Self> {
        let bytes = fs::read(&load.images)?;
        let (images, _) = bytes.as_chunks::<{ Image::PIXELS }>();
        let images = images.iter().copied().map(Image::new).collect();
        Ok(Self { peer: P::load(load)?, images, prepared: HashMap::new() })
    }

    fn logits(&mut self, count: usize) -> anyhow::Result<Vec<f32>> {
        let mut logits = Vec::new();
        for images in self.images[..count].chunks(LOGITS_BATCH) {
            let input = self.peer.prepare(images)?;
            logits.extend(self.peer.logits(&input)?);
        }
        Ok(logits)
    }

    /// Microseconds for each call; the first `count` images take turns.
    fn time(&mut self, batch: usize, count: usize, seconds: f64) -> anyhow::Result<Vec<f64>> {
        if !self.prepared.contains_key(&batch) {
            let images = self.images[..count].chunks_exact(batch);
            let inputs = images.map(|images| self.peer.prepare(images));
            self.prepared.insert(batch, inputs.collect::<anyhow::Result<_>>()?);
        }
        let inputs = &self.prepared[&batch];
        // The others' turns took the weights out of the caches and sent the threads to sleep.
        timed(&mut self.peer, inputs, seconds / 10.0)?;
        timed(&mut self.peer, inputs, seconds)
    }
}

fn timed<P: Peer>(peer: &mut P, inputs: &[P::Input], seconds: f64) -> anyhow::Result<Vec<f64>> {
    let mut call_us = Vec::new();
    let start = Instant::now();
    for input in inputs.iter().cycle() {
        let call = Instant::now();
        let output = black_box(peer.run(black_box(input))?);
        call_us.push(call.elapsed().as_nanos() as f64 / 1e3);
        drop(output);
        if start.elapsed().as_secs_f64() >= seconds {
            break;
        }
    }
    Ok(call_us)
}

/// The version of a package that this build was locked to.
pub fn locked_version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = include_str!("../Cargo.lock").lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \""));
    version.map_or("of unknown version", |version| version.trim_end_matches('"'))
}
