//! What it costs that a model can be exchanged, is exchanged, and is compared with another:
//! `cargo bench -p fmnist-benches --bench swap`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fmnist_benches::{Form, Report, Rounds, Table, drive, grouped};
use fmnist_core::{
    Classifier, ClassifierSlot, Image, ModelIdentity, PredictError, Prediction, Predictor,
    dataset::{Split, synthetic},
    message::Requests,
    pipeline::{BatchConfig, PipelineConfig},
    predict::Served,
    slot::Shadow,
    transport::memory::MemoryBroker,
};

const ROUNDS: usize = 5;
const MESSAGES: usize = 6_000;
const IMAGES: usize = 32;
const PROBATION: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Bare,
    Slot,
    Swaps(Duration),
    Shadow,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Bare,
        Self::Slot,
        Self::Swaps(Duration::from_secs(1)),
        Self::Swaps(Duration::from_millis(10)),
        Self::Shadow,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "no slot",
            Self::Slot => "slot, with drift",
            Self::Swaps(every) if every.as_millis() >= 1_000 => "slot, a swap a second",
            Self::Swaps(_) => "slot, a hundred swaps a second",
            Self::Shadow => "slot, `tiny` in the shadow of a tenth",
        }
    }
}

/// One way, and its figures.
struct Subject {
    way: Way,
    messages: Rounds,
    longest: Rounds,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let images = synthetic(Split::Test, BatchConfig::default().max_inputs, 1).images;
    let base = Classifier::pretrained()?;
    let mut report = Report::new(
        "swap",
        "Messages of 32 images through memory and the whole pipeline around `base`, with the default \
         configuration. A swap verifies a model that is loaded already and exchanges it; the longest gap is \
         between the answers of two batches. Median over rounds (least–greatest); ways take turns, ratios \
         are within a round.",
    );
    let mut subjects = Way::ALL.map(|way| Subject {
        way,
        messages: Rounds::default(),
        longest: Rounds::default(),
    });
    for _ in 0..ROUNDS {
        for Subject { way, messages, longest } in &mut subjects {
            let (speed, gap) = run(*way, &base, &images).await?;
            messages.push(speed);
            longest.push(gap.as_secs_f64() * 1e3);
        }
    }
    let heads = ["way", "images/s", "longest gap ms", "images/s ÷ no slot"];
    let mut table = Table::new(&heads, &[0]);
    let bare = subjects[0].messages.clone();
    for Subject { way, messages, longest } in &subjects {
        table.row(&[
            way.name(),
            &messages.scaled(IMAGES as f64).to_string(),
            &longest.to_string(),
            &messages.relative_to(&bare).to_string(),
        ]);
    }
    report.add(&table);
    let batch = grouped(BatchConfig::default().max_inputs as f64);
    report.note(&format!("A batch has {batch} images at most."));
    report.finish()
}

async fn run(
    way: Way,
    base: &Classifier,
    images: &Arc<[Image]>,
) -> anyhow::Result<(f64, Duration)> {
    let broker = MemoryBroker::new("INFERENCE");
    let message = Form::Range.message(images, IMAGES);
    for _ in 0..MESSAGES {
        broker.send(message.clone());
    }
    let requests = Requests::new(base, Arc::clone(images));
    let config = PipelineConfig::default();
    if way == Way::Bare {
        let timed = Timed::new(base.clone());
        let speed = drive(broker.consumer(), timed.clone(), requests, config, MESSAGES).await?;
        return Ok((speed.messages, timed.longest()));
    }
    let slot = ClassifierSlot::new(base.clone(), images, PROBATION);
    if way == Way::Shadow {
        let class = |answer: &Prediction| answer.class.to_string();
        slot.shadow(Classifier::open("tiny")?, Shadow::by(class).with_share(0.1))?;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let swapper = if let Way::Swaps(every) = way {
        let (slot, base, is_over) = (slot.clone(), base.clone(), Arc::clone(&is_over));
        Some(thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                drop(slot.swap(base.clone()));
                thread::sleep(every);
            }
        }))
    } else {
        None
    };
    let timed = Timed::new(slot);
    let speed = drive(broker.consumer(), timed.clone(), requests, config, MESSAGES).await;
    is_over.store(true, Ordering::Relaxed);
    if let Some(swapper) = swapper {
        swapper.join().expect("no swap panics");
    }
    Ok((speed?.messages, timed.longest()))
}

/// Notes the longest time between the answers of two batches.
struct Timed<P>(Arc<(P, Mutex<Gaps>)>);

#[derive(Default)]
struct Gaps {
    last: Option<Instant>,
    longest: Duration,
}

impl<P> Timed<P> {
    fn new(model: P) -> Self {
        Self(Arc::new((model, Mutex::default())))
    }

    fn longest(&self) -> Duration {
        self.0.1.lock().expect("nothing panics under it").longest
    }
}

impl<P> Clone for Timed<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Predictor> Predictor for Timed<P> {
    type Input = P::Input;
    type Output = P::Output;

    fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
        self.0.0.predict(batch)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.0.0.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.0.0.warm_up()
    }

    fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
        let served = self.0.0.serve(batch);
        let mut noted = self.0.1.lock().expect("nothing panics under it");
        let now = Instant::now();
        if let Some(before) = noted.last.replace(now) {
            noted.longest = noted.longest.max(now - before);
        }
        served
    }
}
