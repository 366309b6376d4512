use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use fmnist_core::{
    Image, Infer,
    message::{Requests, ResultRecord},
    pipeline::{Answered, Pipeline, PipelineConfig, Sink, SinkError},
    transport::memory::MemoryBroker,
};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Exp};
use tokio::sync::oneshot;

use crate::{Form, percentile};

/// What came of a load that does not wait for its answers.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// Results a second.
    pub throughput: f64,
    /// Median time from when a message was due to when its result was ready, in milliseconds.
    pub p50_ms: f64,
    /// The time that 99 of 100 did not exceed, in milliseconds.
    pub p99_ms: f64,
    /// Images an inference call, on average.
    pub batch: f64,
}

/// Sends single images at random times, `rate` a second on average for `lasting`, whether or not
/// earlier ones are answered, and waits for the last answer.
///
/// Latency counts from when a message was due, not from when it was sent, so that a sender that is
/// held up hides nothing (Tene, "How not to measure latency").
///
/// # Errors
/// If the pipeline stops early or loses a message.
pub async fn open_loop<M: Infer>(
    model: Arc<M>,
    test_images: Arc<[Image]>,
    config: PipelineConfig,
    rate: f64,
    lasting: Duration,
) -> anyhow::Result<Latencies> {
    let broker = MemoryBroker::new("INFERENCE");
    let message = Form::Raw.message(&test_images, 1);
    let due = arrivals(rate, lasting)?;
    let stopwatch = Stopwatch(Arc::new(Mutex::new(vec![None; due.len()])));
    let answered = Arc::clone(&stopwatch.0);
    let requests = Requests::new(&model, test_images);
    let pipeline = Pipeline::new(broker.consumer(), model, requests, config).with_sink(stopwatch);

    let (all_sent, sent) = oneshot::channel();
    let load = due.clone();
    let sender = thread::spawn(move || {
        let begun = Instant::now();
        for due in load {
            // A sleep ends late by some 60 µs; to wait awake would take a core from the pipeline.
            if let Some(left) = due.checked_sub(begun.elapsed()) {
                thread::sleep(left);
            }
            broker.send(message.clone());
        }
        // Its receiver is gone only if the pipeline ended early, which is told below.
        let _ = all_sent.send(());
        begun
    });
    let all_answered = async {
        drop(sent.await);
        while lock(&answered).iter().any(Option::is_none) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = tokio::time::timeout(lasting * 20, pipeline.run(all_answered))
        .await
        .context("the pipeline stalled")??;
    let Ok(begun) = sender.join() else { bail!("the sender panicked") };

    let answered: Vec<Instant> = lock(&answered).iter().copied().flatten().collect();
    let latency = |(due, at): (&Duration, &Instant)| {
        at.saturating_duration_since(begun + *due).as_secs_f64() * 1e3
    };
    let latencies: Vec<f64> = due.iter().zip(&answered).map(latency).collect();
    let end = answered.iter().max().context("expected answers, found none")?;
    Ok(Latencies {
        throughput: answered.len() as f64 / end.duration_since(begun).as_secs_f64(),
        p50_ms: percentile(&latencies, 50.0),
        p99_ms: percentile(&latencies, 99.0),
        batch: report.inputs as f64 / report.batches as f64,
    })
}

/// When messages are due: a Poisson process, the same at every call.
fn arrivals(rate: f64, lasting: Duration) -> anyhow::Result<Vec<Duration>> {
    let gap = Exp::new(rate).ok().context("expected a positive rate")?;
    let mut random = StdRng::seed_from_u64(1);
    let mut due = Vec::new();
    let mut at = 0.0;
    loop {
        at += gap.sample(&mut random);
        if at >= lasting.as_secs_f64() {
            return Ok(due);
        }
        due.push(Duration::from_secs_f64(at));
    }
}

/// When each message was answered, by its place in the queue.
struct Stopwatch(Arc<Mutex<Vec<Option<Instant>>>>);

impl Sink<ResultRecord, Image> for Stopwatch {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        let now = Instant::now();
        let mut answered = lock(&self.0);
        for result in results {
            let place = result.record.id.rsplit('/').next().and_then(|place| place.parse().ok());
            let place: usize = place.expect("the memory broker numbers its messages");
            answered[place] = Some(now);
        }
        Ok(())
    }
}

fn lock(answered: &Mutex<Vec<Option<Instant>>>) -> std::sync::MutexGuard<'_, Vec<Option<Instant>>> {
    answered.lock().expect("no sink panicked")
}
