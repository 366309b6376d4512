use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use fmnist_core::{
    Image, Infer, ModelIdentity, PredictError, Prediction, Predictor, label::LABELS,
    transport::Outbound,
};
use stream_inference::{
    codec::Codec,
    pipeline::{Answered, Pipeline, PipelineConfig, Sink, SinkError},
    transport::Transport,
};
use tokio::sync::Notify;

/// A run that takes longer has lost messages.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// A model that computes nothing: what the pipeline costs without one.
pub struct NoOp {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl Default for NoOp {
    fn default() -> Self {
        let (name, version, sha256) = ("no-op".to_owned(), "1.0".to_owned(), "0".repeat(64));
        Self {
            labels: LABELS.map(str::to_owned).into(),
            identity: Arc::new(ModelIdentity { name, version, sha256 }),
        }
    }
}

impl Predictor for NoOp {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let prediction = |_: &Image| Prediction {
            class: 0,
            probabilities: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].into(),
            model: Arc::clone(&self.identity),
        };
        Ok(images.iter().map(prediction).collect())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl Infer for NoOp {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// What the messages of a run look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"start_idx": 0, "end_idx": n}`, as the old producers send it.
    Range,
    /// n × 784 bytes.
    Raw,
}

impl Form {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Raw => "raw",
        }
    }

    /// A message of this form that asks for the first `images` of the test images.
    pub fn message(self, test_images: &[Image], images: usize) -> Outbound {
        let payload = match self {
            Self::Range => format!(r#"{{"start_idx": 0, "end_idx": {images}}}"#).into(),
            Self::Raw => test_images[..images]
                .iter()
                .map(Image::pixels)
                .copied()
                .collect::<Vec<_>>()
                .concat()
                .into(),
        };
        Outbound { payload, ..Outbound::default() }
    }
}

/// How fast a pipeline went once it was going.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Results a second.
    pub messages: f64,
    /// Inputs an inference call, on average over the run.
    pub batch: f64,
}

/// Runs a pipeline until `messages` waiting messages are answered and settled.
///
/// The clock runs from the first tenth of the results to the last, both taken where results go to
/// the sinks, so that joining a group and draining are not counted and as many messages wait for
/// their settlement at its start as at its end.
///
/// # Errors
/// If the pipeline stops early, publishes less than it was sent, or takes longer than two minutes.
pub async fn drive<T, P, C>(
    transport: T,
    model: P,
    codec: C,
    config: PipelineConfig,
    messages: usize,
) -> anyhow::Result<Speed>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    let stopwatch = Stopwatch { messages, laps: Arc::default(), done: Arc::default() };
    let (laps, done) = (Arc::clone(&stopwatch.laps), Arc::clone(&stopwatch.done));
    let pipeline = Pipeline::new(transport, model, codec, config).with_sink(stopwatch);
    let run = pipeline.run(async move { done.notified().await });
    let report = tokio::time::timeout(LONGEST_RUN, run).await.context("the pipeline stalled")??;
    if report.settlement.published < messages {
        bail!("expected {messages} published messages, found {:?}", report.settlement);
    }
    let laps = laps.lock().expect("no sink panicked");
    let (Some((first, start)), Some((last, end))) = (laps.start, laps.end) else {
        bail!("expected {messages} results, found {}", laps.results);
    };
    let batch = report.inputs as f64 / report.batches as f64;
    Ok(Speed { messages: (last - first) as f64 / (end - start).as_secs_f64(), batch })
}

/// A sink that keeps time.
struct Stopwatch {
    messages: usize,
    laps: Arc<Mutex<Laps>>,
    done: Arc<Notify>,
}

#[derive(Default)]
struct Laps {
    results: usize,
    start: Option<(usize, Instant)>,
    end: Option<(usize, Instant)>,
}

impl<R: Send + Sync + 'static, I: Send + Sync + 'static> Sink<R, I> for Stopwatch {
    async fn write(&self, results: &[Answered<R, I>]) -> Result<(), SinkError> {
        let mut laps = self.laps.lock().expect("no sink panicked");
        laps.results += results.len();
        let lap = (laps.results, Instant::now());
        if laps.results >= self.messages {
            laps.end = Some(lap);
            self.done.notify_one();
        } else if laps.results >= self.messages / 10 {
            laps.start.get_or_insert(lap);
        }
        Ok(())
    }
}
