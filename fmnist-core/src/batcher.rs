//! One model for every caller in a process: calls that come while a batch is computed share the next.
//!
//! There is no thread and no waiting for more: whoever finds the model idle computes at once, on its
//! own thread, whatever waits by then, and when its own images are done leaves the rest to the caller
//! that has waited longest. (Combining, as in Hendler et al., "Flat combining and the
//! synchronization-parallelism tradeoff", SPAA 2010.)

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    classifier::{ClassifyError, Infer, ModelIdentity, Prediction},
    image::Image,
    message::Request,
    pipeline::{
        BatchConfig,
        pace::Pace,
        schedule::{Schedule, Sequence},
        worker::{self, Inferred},
    },
};

/// A model that HTTP requests and pipelines share.
///
/// A call of 10,000 images delays one of a single image by at most one batch; of two such calls the
/// first finishes first. An image that the model fails on fails its own call and no other.
///
/// ```
/// use std::{sync::Arc, thread};
/// use fmnist_core::{Batcher, Classifier, Image, Infer, pipeline::BatchConfig};
///
/// let model = Arc::new(Batcher::new(Classifier::pretrained()?, &BatchConfig::default()));
/// let calls = [1, 5].map(|images| {
///     let model = Arc::clone(&model);
///     thread::spawn(move || model.infer(&vec![Image::new([0; 784]); images]))
/// });
/// for (call, images) in calls.into_iter().zip([1, 5]) {
///     assert_eq!(call.join().expect("no panic")?.len(), images);
/// }
/// # Ok::<(), fmnist_core::ClassifyError>(())
/// ```
#[derive(Debug)]
pub struct Batcher<M> {
    model: M,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    schedule: Schedule,
    pace: Pace,
    /// Those without all their answers, and those whose caller has not yet taken them.
    calls: BTreeMap<Sequence, Call>,
    next: Sequence,
    /// One of the callers computes a batch.
    is_computing: bool,
}

#[derive(Debug)]
struct Call {
    images: usize,
    answers: Vec<Result<Prediction, String>>,
    /// Told when all answers are there, or when it is this caller's turn to compute.
    turn: Arc<Condvar>,
}

impl<M: Infer> Batcher<M> {
    /// A batch has `max_images` images at most, and no more than the latency budget allows.
    pub fn new(model: M, config: &BatchConfig) -> Self {
        let queue = Queue {
            schedule: Schedule::default(),
            pace: Pace::new(config),
            calls: BTreeMap::new(),
            next: 0,
            is_computing: false,
        };
        Self { model, queue: Mutex::new(queue) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock panics half-way; the model's panics are caught.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one batch of whatever waits, without the lock.
    fn compute<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let limit = queue.pace.limit(queue.schedule.messages());
        let Some(batch) = queue.schedule.next_batch(limit, &[]) else { return queue };
        queue.is_computing = true;
        drop(queue);
        let inferred = worker::classify(batch, &self.model);
        let mut queue = self.queue();
        queue.is_computing = false;
        queue.answer(inferred);
        queue
    }
}

impl Queue {
    fn push(&mut self, images: &[Image]) -> (Sequence, Arc<Condvar>) {
        let (sequence, turn) = (self.next, Arc::new(Condvar::new()));
        self.next += 1;
        let answers = Vec::with_capacity(images.len());
        let call = Call { images: images.len(), answers, turn: Arc::clone(&turn) };
        self.calls.insert(sequence, call);
        let limit = self.pace.limit(self.schedule.messages() + 1);
        let request = Request::Images(images.to_vec());
        self.schedule.push(sequence, request, Instant::now(), limit);
        (sequence, turn)
    }

    fn answer(&mut self, inferred: Inferred) {
        self.pace.observe(inferred.answers.len(), inferred.took);
        let mut answers = inferred.answers.into_iter();
        for (sequence, count) in inferred.shares {
            let call = self.calls.get_mut(&sequence).expect("a call stays until it is answered");
            call.answers.extend(answers.by_ref().take(count));
            if call.is_answered() {
                call.turn.notify_one();
            }
        }
    }

    /// Takes the answers of a call that has them all.
    fn take(&mut self, sequence: Sequence) -> Option<Vec<Result<Prediction, String>>> {
        let is_answered = self.calls.get(&sequence).is_some_and(Call::is_answered);
        is_answered.then(|| self.calls.remove(&sequence)).flatten().map(|call| call.answers)
    }

    /// Lets the caller that has waited longest compute, if none does.
    fn hand_over(&self) {
        if self.is_computing {
            return;
        }
        if let Some(call) = self.calls.values().find(|call| !call.is_answered()) {
            call.turn.notify_one();
        }
    }
}

impl Call {
    fn is_answered(&self) -> bool {
        self.answers.len() == self.images
    }
}

impl<M: Infer> Infer for Batcher<M> {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let mut queue = self.queue();
        let (sequence, turn) = queue.push(images);
        let answers = loop {
            if let Some(answers) = queue.take(sequence) {
                queue.hand_over();
                break answers;
            }
            queue = match queue.is_computing {
                true => turn.wait(queue).unwrap_or_else(PoisonError::into_inner),
                false => self.compute(queue),
            };
        };
        drop(queue);
        let failed = |reason| ClassifyError::Inference { images: images.len(), reason };
        answers.into_iter().collect::<Result<_, _>>().map_err(failed)
    }

    fn labels(&self) -> &[String] {
        self.model.labels()
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        self.model.identity()
    }
}
