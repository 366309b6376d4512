//! Time for an image by model, engine and batch size: `cargo bench -p fmnist-benches --bench inference`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use fmnist_benches::{Report, Rounds, Table, grouped, percentile};
use fmnist_core::{
    Classifier, Engine, Image,
    dataset::{Split, synthetic},
};

const MODELS: [&str; 2] = ["base", "notebook"];
const BATCHES: [usize; 3] = [1, 32, 256];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(250);

/// One model on one engine, and its figures at one batch size.
struct Subject {
    model: &'static str,
    engine: Engine,
    classifier: Classifier,
    /// Microseconds for an image, one figure a round.
    image_us: Rounds,
    /// Microseconds for each call of every round.
    call_us: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let images = synthetic(Split::Test, BATCHES[2], 1).images;
    let mut report = Report::new(
        "inference",
        "Time that `Classifier::classify` takes: pixels in, calibrated probabilities out, one call \
         after the other. Median over rounds (least–greatest); models and engines take turns, \
         ratios are within a round.",
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
    let pairs = MODELS.into_iter().flat_map(|model| Engine::ALL.map(|engine| (model, engine)));
    pairs
        .map(|(model, engine)| {
            let classifier = Classifier::open(model)?.with_engine(engine)?;
            let (image_us, call_us) = (Rounds::default(), Vec::new());
            Ok(Subject { model, engine, classifier, image_us, call_us })
        })
        .collect()
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
        "µs an image",
        "images/s",
        "call p50 µs",
        "call p99 µs",
        "× base on flex",
    ];
    let mut table = Table::new(&heads, 2);
    let yardstick = &subjects[0].image_us;
    for Subject { model, engine, image_us, call_us, .. } in subjects {
        let median = image_us.median();
        table.row(&[
            model,
            engine.name(),
            &image_us.to_string(),
            &grouped(1e6 / median),
            &grouped(percentile(call_us, 50.0)),
            &grouped(percentile(call_us, 99.0)),
            &image_us.relative_to(yardstick).to_string(),
        ]);
    }
    table
}
