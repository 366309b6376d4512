//! Latency of single images at loads below what the model can do:
//! `cargo bench -p fmnist-benches --bench latency`.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use fmnist_benches::{Report, Rounds, Table, grouped, open_loop};
use fmnist_core::{
    Batcher, Classifier, Image,
    dataset::{Split, synthetic},
    pipeline::{BatchConfig, PipelineConfig},
};

const ROUNDS: usize = 3;
const LASTING: Duration = Duration::from_secs(2);
const LOADS_PERCENT: [f64; 4] = [10.0, 50.0, 80.0, 95.0];
/// More than any model of this project can do on two cores.
const TOO_FAST: f64 = 40_000.0;

/// What decides the size of a batch.
#[derive(Clone, Copy)]
enum Policy {
    AtMost(usize),
    BudgetMs(u64),
}

const POLICIES: [Policy; 8] = [
    Policy::AtMost(1),
    Policy::AtMost(8),
    Policy::AtMost(32),
    Policy::AtMost(128),
    Policy::AtMost(256),
    Policy::BudgetMs(2),
    Policy::BudgetMs(5),
    Policy::BudgetMs(20),
];

impl Policy {
    fn batch(self) -> BatchConfig {
        let default = BatchConfig::default();
        match self {
            Self::AtMost(max_inputs) => BatchConfig { max_inputs, ..default },
            Self::BudgetMs(budget) => BatchConfig { latency_budget_ms: Some(budget), ..default },
        }
    }

    fn name(self) -> String {
        match self {
            Self::AtMost(images) => format!("at most {images}"),
            Self::BudgetMs(budget) => format!("budget {budget} ms"),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let test_images = synthetic(Split::Test, 256, 1).images;
    // The other core sends, receives and publishes.
    let classifier = Classifier::pretrained()?.with_threads(NonZeroUsize::MIN);
    let capacity = capacity(&classifier, &test_images).await?;
    let mut report = Report::new(
        "latency",
        "Raw single images through the pipeline in memory, sent at random times (Poisson) whether or \
         not earlier ones are answered; milliseconds from when a message was due to when its result \
         was ready to be published. `base` on one thread, through the batcher that HTTP requests \
         share. Median over rounds (least–greatest); the rows of a table take turns.",
    );
    report.note(&format!(
        "Capacity, in batches of 256 beside a sender that is faster: {} images/s.",
        grouped(capacity)
    ));
    for percent in LOADS_PERCENT {
        let rate = capacity * percent / 100.0;
        let mut rows = POLICIES.map(|policy| (policy, [(); 4].map(|()| Rounds::default())));
        for _ in 0..ROUNDS {
            for (policy, figures) in &mut rows {
                let model = Arc::new(Batcher::new(classifier.clone(), &policy.batch()));
                let config = PipelineConfig { batch: policy.batch(), ..PipelineConfig::default() };
                let found =
                    open_loop(model, Arc::clone(&test_images), config, rate, LASTING).await?;
                let found = [found.p50_ms, found.p99_ms, found.throughput, found.batch];
                figures.iter_mut().zip(found).for_each(|(rounds, figure)| rounds.push(figure));
            }
        }
        let head = format!("load {percent} %: {} images/s", grouped(rate));
        let mut table = Table::new(&[&head, "p50", "p99", "images/s", "images a batch"], &[0]);
        for (policy, [p50, p99, throughput, batch]) in &rows {
            table.row(&[
                &policy.name(),
                &p50.to_string(),
                &p99.to_string(),
                &throughput.to_string(),
                &grouped(batch.median()),
            ]);
        }
        report.add(&table);
    }
    report.finish()
}

/// Images a second when more are sent than can be answered.
async fn capacity(classifier: &Classifier, test_images: &Arc<[Image]>) -> anyhow::Result<f64> {
    let mut found = Rounds::default();
    for _ in 0..ROUNDS {
        let model = Arc::new(Batcher::new(classifier.clone(), &BatchConfig::default()));
        let (images, config) = (Arc::clone(test_images), PipelineConfig::default());
        let load = open_loop(model, images, config, TOO_FAST, LASTING).await?;
        found.push(load.throughput);
    }
    Ok(found.median())
}
