//! One model for every caller in a process: calls that come while a batch is computed share the next.
//!
//! There is no thread and no waiting for more: whoever finds the model idle computes at once, on its
//! own thread, whatever waits by then, and when its own inputs are done leaves the rest to the caller
//! that has waited longest. (Combining, as in Hendler et al., "Flat combining and the
//! synchronization-parallelism tradeoff", SPAA 2010.)

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Instant,
    vec,
};

use crate::{
    lock::Sound,
    pipeline::{
        BatchConfig,
        pace::Pace,
        schedule::{Schedule, Sequence},
        worker::{self, Inferred},
    },
    predict::{AnsweredBy, ModelIdentity, PredictError, Predictor, Served},
};

/// A model that HTTP requests and pipelines share.
///
/// A call of 10,000 inputs delays one of a single input by at most one batch; of two such calls the
/// first finishes first. An input that the model fails on fails its own call and no other.
///
/// ```
/// use std::{sync::Arc, thread};
/// use stream_inference::{
///     Batcher,
///     pipeline::BatchConfig,
///     predict::{ModelIdentity, PredictError, Predictor, function},
/// };
///
/// let doubled = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f32]| {
///     Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
/// });
/// let model = Arc::new(Batcher::new(doubled, &BatchConfig::default()));
/// let calls = [1, 5].map(|inputs| {
///     let model = Arc::clone(&model);
///     thread::spawn(move || model.predict(&vec![1.5; inputs]))
/// });
/// for (call, inputs) in calls.into_iter().zip([1, 5]) {
///     assert_eq!(call.join().expect("no panic")?, vec![3.0; inputs]);
/// }
/// # Ok::<(), PredictError>(())
/// ```
pub struct Batcher<P: Predictor> {
    model: P,
    queue: Mutex<Queue<P>>,
}

struct Queue<P: Predictor> {
    schedule: Schedule<vec::IntoIter<P::Input>>,
    pace: Pace,
    /// Those without all their answers, and those whose caller has not yet taken them.
    calls: BTreeMap<Sequence, Call<P::Output>>,
    next: Sequence,
    /// One of the callers computes a batch.
    is_computing: bool,
}

struct Call<O> {
    inputs: usize,
    answers: Vec<Result<O, PredictError>>,
    by: AnsweredBy,
    /// Told when all answers are there, or when it is this caller's turn to compute.
    turn: Arc<Condvar>,
}

impl<P: Predictor> Batcher<P>
where
    P::Input: Clone,
{
    /// A batch has `max_inputs` inputs at most, and no more than the latency budget allows.
    pub fn new(model: P, config: &BatchConfig) -> Self {
        let queue = Queue {
            schedule: Schedule::default(),
            pace: Pace::new(config),
            calls: BTreeMap::new(),
            next: 0,
            is_computing: false,
        };
        Self { model, queue: Mutex::new(queue) }
    }

    /// The model that it shares.
    pub const fn model(&self) -> &P {
        &self.model
    }

    /// Answers one batch of whatever waits, without the lock.
    fn compute<'a>(&'a self, mut queue: MutexGuard<'a, Queue<P>>) -> MutexGuard<'a, Queue<P>> {
        let limit = queue.pace.limit(queue.schedule.messages());
        let Some(batch) = queue.schedule.next_batch(limit) else { return queue };
        queue.is_computing = true;
        drop(queue);
        let inferred = worker::infer(&batch, &self.model);
        let mut queue = self.queue.lock().sound();
        queue.is_computing = false;
        match inferred {
            Ok(inferred) => queue.answer(inferred),
            Err(reason) => queue.fail(&batch.shares, &reason),
        }
        queue
    }

    /// All answers of one call.
    fn call(&self, batch: &[P::Input]) -> Call<P::Output> {
        // Copied without the lock: it is foreign code.
        let inputs = batch.to_vec();
        let mut queue = self.queue.lock().sound();
        let (sequence, turn) = queue.push(inputs);
        loop {
            if let Some(call) = queue.take(sequence) {
                queue.hand_over();
                return call;
            }
            let is_computing = queue.is_computing;
            queue = if is_computing { turn.wait(queue).sound() } else { self.compute(queue) };
        }
    }
}

impl<P: Predictor + fmt::Debug> fmt::Debug for Batcher<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("model", &self.model).finish_non_exhaustive()
    }
}

impl<P: Predictor> Queue<P>
where
    P::Input: Clone,
{
    fn push(&mut self, inputs: Vec<P::Input>) -> (Sequence, Arc<Condvar>) {
        let (sequence, turn) = (self.next, Arc::new(Condvar::new()));
        self.next += 1;
        let (answers, by) = (Vec::with_capacity(inputs.len()), AnsweredBy::default());
        let call = Call { inputs: inputs.len(), answers, by, turn: Arc::clone(&turn) };
        self.calls.insert(sequence, call);
        let limit = self.pace.limit(self.schedule.messages() + 1);
        self.schedule.push(sequence, inputs.into_iter(), Instant::now(), limit);
        (sequence, turn)
    }

    fn answer(&mut self, inferred: Inferred<P::Output>) {
        let Inferred { shares, answers, model, took, .. } = inferred;
        self.pace.observe(answers.len(), took);
        let mut answers = answers.into_iter();
        for (sequence, count) in shares {
            let call = self.calls.get_mut(&sequence).expect("a call stays until it is answered");
            call.by.add(&model);
            let share = answers.by_ref().take(count);
            call.answers.extend(share.map(|answer| answer.map_err(PredictError::from)));
            call.tell();
        }
    }

    /// Answers the calls of a batch that the model can't answer now, with all that they have left.
    fn fail(&mut self, shares: &[(Sequence, usize)], reason: &str) {
        for &(sequence, count) in shares {
            let count = count + self.schedule.remove(sequence);
            let call = self.calls.get_mut(&sequence).expect("a call stays until it is answered");
            call.answers.extend((0..count).map(|_| Err(PredictError::unavailable(reason))));
            call.tell();
        }
    }

    /// Takes a call that has all its answers.
    fn take(&mut self, sequence: Sequence) -> Option<Call<P::Output>> {
        let is_answered = self.calls.get(&sequence).is_some_and(Call::is_answered);
        is_answered.then(|| self.calls.remove(&sequence)).flatten()
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

impl<O> Call<O> {
    const fn is_answered(&self) -> bool {
        self.answers.len() == self.inputs
    }

    fn tell(&self) {
        if self.is_answered() {
            self.turn.notify_one();
        }
    }
}

impl<P: Predictor> Predictor for Batcher<P>
where
    P::Input: Clone,
{
    type Input = P::Input;
    type Output = P::Output;

    fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
        self.serve(batch).map(|served| served.outputs)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.model.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.model.warm_up()
    }

    // What it serves has been verified, input by input: there is no `verify` to do it again.
    fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
        if batch.is_empty() {
            return Ok(Served { outputs: Vec::new(), model: self.identity() });
        }
        loop {
            let Call { answers, by, .. } = self.call(batch);
            // The model was exchanged between two batches: all of the call is for the new one.
            if by.is_mixed {
                continue;
            }
            let outputs = answers.into_iter().collect::<Result<_, _>>()?;
            return Ok(Served { outputs, model: by.model.unwrap_or_else(|| self.identity()) });
        }
    }
}
