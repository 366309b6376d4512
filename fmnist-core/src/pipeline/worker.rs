//! The two threads beside the loop: one decodes, one infers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    meters::Meters,
    schedule::{Batch, Sequence},
};
use crate::{
    classifier::{Infer, Prediction},
    image::Image,
    message::{self, Request},
    transport::{Attributes, Delivery, Rejection, Stage},
};

/// A message on its way through the decode thread.
pub(super) struct Received<T> {
    pub(super) sequence: Sequence,
    pub(super) delivery: Delivery<T>,
    pub(super) at: Timestamp,
    pub(super) received: Instant,
}

/// The same message, read.
pub(super) struct Decoded<T> {
    pub(super) received: Received<T>,
    pub(super) request: Result<Request, Rejection>,
}

/// A batch with an answer, or the reason why there is none, for each image.
pub(crate) struct Inferred {
    pub(crate) shares: Vec<(Sequence, usize)>,
    pub(crate) answers: Vec<Result<Prediction, String>>,
    /// Whether each image [is blank](Image::is_blank).
    pub(super) blank: Vec<bool>,
    pub(super) at: Timestamp,
    /// What computing it took.
    pub(crate) took: Duration,
}

/// A thread that takes `I` and gives `O`; it ends when this is dropped.
pub(super) struct Worker<I, O> {
    pub(super) input: mpsc::Sender<I>,
    pub(super) output: mpsc::Receiver<O>,
}

impl<I: Send + 'static, O: Send + 'static> Worker<I, O> {
    fn spawn(name: &str, capacity: usize, mut work: impl FnMut(I) -> O + Send + 'static) -> Self {
        let (input, mut inputs) = mpsc::channel(capacity);
        let (outputs, output) = mpsc::channel(capacity);
        let run = move || {
            while let Some(item) = inputs.blocking_recv() {
                if outputs.blocking_send(work(item)).is_err() {
                    break;
                }
            }
        };
        // A thread that cannot start drops its channel ends: the loop then stops with an error.
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!(%error, name, "cannot start a thread");
        }
        Self { input, output }
    }
}

/// The thread that reads messages.
pub(super) type Decoder<T> = Worker<Vec<Received<T>>, Vec<Decoded<T>>>;

/// Starts the thread that reads messages against a test set of `test_images` images.
pub(super) fn decoder<T: Send + 'static>(
    capacity: usize,
    test_images: usize,
    meters: Arc<Meters>,
) -> Decoder<T> {
    Worker::spawn("fmnist-decode", capacity, move |batch: Vec<Received<T>>| {
        let begun = Instant::now();
        let received = batch.first().map_or(begun, |first| first.received);
        let decoded =
            decode(batch, |attributes, payload| message::decode(attributes, payload, test_images));
        meters.decoded(received, begun);
        decoded
    })
}

/// Reads messages with `read`; a panic in it refuses the one that it was reading.
pub(super) fn decode<T>(
    batch: Vec<Received<T>>,
    read: impl Fn(&Attributes, &Bytes) -> Result<Request, Rejection>,
) -> Vec<Decoded<T>> {
    let decode = |received: Received<T>| {
        let Delivery { attributes, payload, .. } = &received.delivery;
        let request = catch_unwind(AssertUnwindSafe(|| read(attributes, payload)));
        let panicked = |_| Err(Rejection::new(Stage::Decode, "the decoder panicked"));
        Decoded { request: request.unwrap_or_else(panicked), received }
    };
    batch.into_iter().map(decode).collect()
}

/// The thread that classifies batches.
pub(super) type Inference = Worker<Batch, Inferred>;

/// Starts the thread that classifies batches.
pub(super) fn inference<M: Infer>(
    model: Arc<M>,
    capacity: usize,
    meters: Arc<Meters>,
) -> Inference {
    Worker::spawn("fmnist-infer", capacity, move |batch: Batch| {
        let (begun, since) = (Instant::now(), batch.since);
        let inferred = classify(batch, &*model);
        meters.inferred(inferred.answers.len(), since, begun);
        inferred
    })
}

/// Classifies a batch.
pub(crate) fn classify<M: Infer>(batch: Batch, model: &M) -> Inferred {
    let begun = Instant::now();
    let mut answers = Vec::with_capacity(batch.images.len());
    infer(model, &batch.images, &mut answers);
    let blank = batch.images.iter().map(Image::is_blank).collect();
    Inferred { shares: batch.shares, answers, blank, at: Timestamp::now(), took: begun.elapsed() }
}

/// Infers, and bisects what fails down to the images that fail.
fn infer<M: Infer>(model: &M, images: &[Image], answers: &mut Vec<Result<Prediction, String>>) {
    match attempt(model, images) {
        Ok(predictions) => answers.extend(predictions.into_iter().map(Ok)),
        Err(reason) if images.len() == 1 => answers.push(Err(reason)),
        Err(_) => {
            let (left, right) = images.split_at(images.len() / 2);
            infer(model, left, answers);
            infer(model, right, answers);
        }
    }
}

fn attempt<M: Infer>(model: &M, images: &[Image]) -> Result<Vec<Prediction>, String> {
    let predictions = catch_unwind(AssertUnwindSafe(|| model.infer(images)))
        .map_err(|_| "the model panicked".to_owned())?
        .map_err(|error| error.to_string())?;
    if predictions.len() != images.len() {
        return Err(format!("{} answers for {} images", predictions.len(), images.len()));
    }
    let classes = model.labels().len();
    for Prediction { class, probabilities, .. } in &predictions {
        // What is told of an image is looked up by its classes.
        if *class >= probabilities.len() || probabilities.len() > classes {
            let found = probabilities.len();
            return Err(format!(
                "expected one of {classes} classes, found class {class} of {found} probabilities"
            ));
        }
        if let Some(found) = probabilities.iter().find(|p| !p.is_finite()) {
            return Err(format!("expected finite probabilities, found {found}"));
        }
    }
    Ok(predictions)
}
