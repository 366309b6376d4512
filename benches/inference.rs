//! Time for an image by model, engine, threads and batch size: `cargo bench -p fmnist-benches --bench inference`.

use std::{
    hint::black_box,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use fmnist_benches::{Report, Rounds, Table, grouped, percentile};
use fmnist_core::{
    Classifier, Engine, Image,
    dataset::{Split, synthetic},
};

const MODELS: [&str; 2] = ["base", "notebook"];
const BATCHES: [usize; 4] = [1, 8, 32, 256];
const THREADS: [NonZeroUsize; 2] = [NonZeroUsize::MIN, NonZeroUsize::new(2).unwrap()];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(250);

/// One model on one engine, and its figures at one batch size.
struct Subject {
    model: &'static str,
    engine: Engine,
    /// `None` for Burn's engines, which take rayon's.
    threads: Option<NonZeroUsize>,
    classifier: Classifier,
    /// Microseconds for an image, one figure a round.
    image_us: Rounds,
    /// Microseconds for each call of every round.
    call_us: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let images = synthetic(Split::Test, BATCHES[3], 1).images;
    let mut report = Report::new(
        "inference",
        "Time that `Classifier::classify` takes: pixels in, calibrated probabilities out, one call \
         after the other. Median over rounds (least–greatest); models, engines and threads take \
         turns, ratios are within a round. Burn's engines take rayon's threads, one for each core.",
    );
    for batch in BATCHES {
        let mut subjects = subjects()?;
        for _ in 0..ROUNDS {
            for subject in &mut subjects {
                subject.round(&images[..batch])?;
            }
        }
        report.add(&table(batch, &subjects));
    }
    report.finish()
}

fn subjects() -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for model in MODELS {
        for engine in Engine::ALL {
            let classifier = Classifier::open(model)?.with_engine(engine)?;
            let of_burn = matches!(engine, Engine::Flex | Engine::NdArray);
            let threads = if of_burn { vec![None] } else { THREADS.map(Some).into() };
            subjects.extend(threads.into_iter().map(|threads| {
                let classifier = classifier.clone();
                let classifier = match threads {
                    Some(threads) => classifier.with_threads(threads),
                    None => classifier,
                };
                let (image_us, call_us) = (Rounds::default(), Vec::new());
                Subject { model, engine, threads, classifier, image_us, call_us }
            }));
        }
    }
    Ok(subjects)
}

impl Subject {
    fn round(&mut self, images: &[Image]) -> anyhow::Result<()> {
        // Its weights left the caches during the others' turns.
        black_box(self.classifier.classify(images)?);
        let first = self.call_us.len();
        let start = Instant::now();
        while start.elapsed() < ROUND {
            let call = Instant::now();
            black_box(self.classifier.classify(black_box(images))?);
            self.call_us.push(call.elapsed().as_secs_f64() * 1e6);
        }
        let calls = &self.call_us[first..];
        let mean = calls.iter().sum::<f64>() / calls.len() as f64;
        self.image_us.push(mean / images.len() as f64);
        Ok(())
    }
}

fn table(batch: usize, subjects: &[Subject]) -> Table {
    let head = format!("batch {batch}");
    let heads = [
        &*head,
        "engine",
        "threads",
        "µs an image",
        "images/s",
        "call p50 µs",
        "call p99 µs",
        "× flex",
    ];
    let mut table = Table::new(&heads, &[0, 1]);
    for Subject { model, engine, threads, image_us, call_us, .. } in subjects {
        let flex = |subject: &&Subject| subject.model == *model && subject.engine == Engine::Flex;
        let flex = &subjects.iter().find(flex).expect("every engine is measured").image_us;
        let median = image_us.median();
        table.row(&[
            model,
            engine.name(),
            &threads.map_or("all".to_owned(), |threads| threads.to_string()),
            &image_us.to_string(),
            &grouped(1e6 / median),
            &grouped(percentile(call_us, 50.0)),
            &grouped(percentile(call_us, 99.0)),
            &image_us.relative_to(flex).to_string(),
        ]);
    }
    table
}
