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
    engine::Isa,
};

const MODELS: [&str; 2] = ["base", "notebook"];
/// Those that are measured on every instruction set.
const COMPILED: [&str; 3] = ["base", "notebook", "tiny"];
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
        report.add(&table(batch, &measured(subjects()?, &images[..batch])?));
    }
    report.finish()?;
    let mut report = Report::of(
        "inference",
        "kernels",
        "The same as `inference` by instruction set, for batches of 32 on one thread: all that the processor has. \
         `× fused` is on the same instruction set.",
    );
    report.add(&kernel_table(&measured(kernel_subjects()?, &images[..BATCHES[2]])?));
    report.finish()
}

/// In turns.
fn measured(mut subjects: Vec<Subject>, images: &[Image]) -> anyhow::Result<Vec<Subject>> {
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            subject.round(images)?;
        }
    }
    Ok(subjects)
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
                Subject::new(model, engine, threads, classifier)
            }));
        }
    }
    Ok(subjects)
}

fn kernel_subjects() -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for model in COMPILED {
        for kernel in Isa::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            for engine in [Engine::Fused, Engine::Int8] {
                let classifier = Classifier::open(model)?.with_engine(engine)?;
                let one = NonZeroUsize::MIN;
                let classifier = classifier.with_kernel(kernel)?.with_threads(one);
                subjects.push(Subject::new(model, engine, Some(one), classifier));
            }
        }
    }
    Ok(subjects)
}

impl Subject {
    fn new(
        model: &'static str,
        engine: Engine,
        threads: Option<NonZeroUsize>,
        classifier: Classifier,
    ) -> Self {
        let (image_us, call_us) = (Rounds::default(), Vec::new());
        Self { model, engine, threads, classifier, image_us, call_us }
    }

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
        "call p99.9 µs",
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
            &grouped(percentile(call_us, 99.9)),
            &image_us.relative_to(flex).to_string(),
        ]);
    }
    table
}

fn kernel_table(subjects: &[Subject]) -> Table {
    let heads = ["model", "kernel", "engine", "µs an image", "images/s", "× fused"];
    let mut table = Table::new(&heads, &[0, 1, 2]);
    for pair in subjects.chunks(2) {
        for Subject { model, engine, classifier, image_us, .. } in pair {
            table.row(&[
                model,
                classifier.kernel().map_or("none", Isa::name),
                engine.name(),
                &image_us.to_string(),
                &grouped(1e6 / image_us.median()),
                &image_us.relative_to(&pair[0].image_us).to_string(),
            ]);
        }
    }
    table
}
