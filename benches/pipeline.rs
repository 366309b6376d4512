//! Messages and images a second through the whole pipeline:
//! `cargo bench -p fmnist-benches --bench pipeline`.

use std::{hint::black_box, sync::Arc, time::Instant};

use fmnist_benches::{Form, Kafka, NoOp, Report, Rounds, Speed, Table, drive, grouped};
use fmnist_core::{
    Classifier, Image, Infer,
    dataset::{Split, synthetic},
    message::Requests,
    pipeline::{BatchConfig, PipelineConfig},
    transport::memory::MemoryBroker,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::runtime::Handle;

const ROUNDS: usize = 5;
const IMAGES_A_MESSAGE: [usize; 2] = [1, 32];
/// Images that a run of the real model classifies.
const IMAGES: usize = 8_192;
/// Messages of a run without a model, which would be over too soon with the same number.
const MESSAGES: usize = 20_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Broker {
    Memory,
    Kafka,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    Base,
    NoOp,
}

/// Images of the messages in flight at most. The default bounds messages instead, and with 2,048
/// messages of 32 images a run would be over before the first is answered: they take turns.
const IN_FLIGHT: usize = 2_048;

/// One way through the pipeline, and its figures.
struct Subject {
    broker: Broker,
    form: Form,
    model: Model,
    /// Its metrics are collected, as in a program that answers `/metrics`.
    is_metered: bool,
    messages: Rounds,
    batch: Rounds,
}

struct Bench {
    test_images: Arc<[Image]>,
    base: Arc<Classifier>,
    no_op: Arc<NoOp>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let bench = Bench {
        test_images: synthetic(Split::Test, BatchConfig::default().max_inputs, 1).images,
        base: Arc::new(Classifier::pretrained()?),
        no_op: Arc::default(),
    };
    let mut report = Report::new(
        "pipeline",
        "Waiting messages through receive, decode, batch, infer, publish and acknowledge, with the \
         default configuration (but at most 2,048 images in flight) and one consumer. Median over \
         rounds (least–greatest); the rows of a table take turns, ratios are within a round.",
    );
    report.note(
        "`range` is `{\"start_idx\": 0, \"end_idx\": n}`, `raw` n × 784 bytes. `no-op` is a model \
         that computes nothing: the pipeline's own limit. `mock Kafka` is rdkafka's, in this \
         process, on the same cores.",
    );
    for images in IMAGES_A_MESSAGE {
        report.add(&bench.table(images).await?);
    }
    report.finish()
}

impl Bench {
    async fn table(&self, images: usize) -> anyhow::Result<Table> {
        let ways = [
            (Broker::Memory, Form::Range, false),
            (Broker::Memory, Form::Range, true),
            (Broker::Memory, Form::Raw, false),
            (Broker::Kafka, Form::Range, false),
        ];
        let mut subjects: Vec<Subject> = ways
            .into_iter()
            .flat_map(|(broker, form, is_metered)| {
                [Model::Base, Model::NoOp].map(|model| {
                    let (messages, batch) = (Rounds::default(), Rounds::default());
                    Subject { broker, form, model, is_metered, messages, batch }
                })
            })
            .collect();
        let mut bare = Rounds::default();
        for _ in 0..ROUNDS {
            bare.push(self.bare().await?);
            for subject in &mut subjects {
                let speed = match subject.is_metered {
                    true => metered(self.run(subject, images))?,
                    false => self.run(subject, images).await?,
                };
                subject.messages.push(speed.messages);
                subject.batch.push(speed.batch);
            }
        }
        Ok(shown(images, &subjects, &bare))
    }

    /// Images a second of the engine alone, in the largest batches that the pipeline makes.
    async fn bare(&self) -> anyhow::Result<f64> {
        let (base, images) = (Arc::clone(&self.base), Arc::clone(&self.test_images));
        tokio::task::spawn_blocking(move || {
            base.classify(&images)?;
            let start = Instant::now();
            for _ in 0..IMAGES / images.len() {
                black_box(base.classify(black_box(&images))?);
            }
            Ok(IMAGES as f64 / start.elapsed().as_secs_f64())
        })
        .await?
    }

    async fn run(&self, subject: &Subject, images: usize) -> anyhow::Result<Speed> {
        match subject.model {
            Model::Base => self.through(subject, &self.base, images, IMAGES / images).await,
            Model::NoOp => self.through(subject, &self.no_op, images, MESSAGES).await,
        }
    }

    async fn through<M: Infer>(
        &self,
        subject: &Subject,
        model: &Arc<M>,
        images: usize,
        messages: usize,
    ) -> anyhow::Result<Speed> {
        let (model, test_images) = (Arc::clone(model), Arc::clone(&self.test_images));
        let message = subject.form.message(&test_images, images);
        let requests = Requests::new(&model, test_images);
        let batch = BatchConfig { max_messages: IN_FLIGHT / images, ..BatchConfig::default() };
        let config = PipelineConfig { batch, ..PipelineConfig::default() };
        match subject.broker {
            Broker::Memory => {
                let broker = MemoryBroker::new("INFERENCE");
                for _ in 0..messages {
                    broker.send(message.clone());
                }
                drive(broker.consumer(), model, requests, config, messages).await
            }
            Broker::Kafka => {
                let kafka = Kafka::fresh().await?;
                kafka.fill(&message, messages)?;
                drive(kafka.consumer().await?, model, requests, config, messages).await
            }
        }
    }
}

/// A pipeline takes its recorder when it begins.
fn metered(run: impl Future<Output = anyhow::Result<Speed>>) -> anyhow::Result<Speed> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let run = || metrics::with_local_recorder(&recorder, || Handle::current().block_on(run));
    let speed = tokio::task::block_in_place(run)?;
    let collected = recorder.handle().render();
    anyhow::ensure!(collected.contains("fmnist_"), "no metrics were collected");
    Ok(speed)
}

fn shown(images: usize, subjects: &[Subject], bare: &Rounds) -> Table {
    let head = format!("images a message: {images}");
    let heads = [
        &*head,
        "message",
        "model",
        "messages/s",
        "images/s",
        "images a batch",
        "images/s ÷ bare engine",
    ];
    let mut table = Table::new(&heads, &[0, 1, 2]);
    let batch = BatchConfig::default().max_inputs as f64;
    table.row(&["bare engine", "–", "base", "–", &bare.to_string(), &grouped(batch), "1.00"]);
    for Subject { broker, form, model, is_metered, messages, batch } in subjects {
        let images = messages.scaled(images as f64);
        table.row(&[
            match broker {
                Broker::Memory if *is_metered => "memory, metrics collected",
                Broker::Memory => "memory",
                Broker::Kafka => Kafka::name(),
            },
            form.name(),
            match model {
                Model::Base => "base",
                Model::NoOp => "no-op",
            },
            &grouped(messages.median()),
            &images.to_string(),
            &grouped(batch.median()),
            &images.relative_to(bare).to_string(),
        ]);
    }
    table
}
