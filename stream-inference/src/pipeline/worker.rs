//! The two threads beside the loop: one decodes, one infers. Each takes work from a bounded channel and gives
//! it back in order; what is foreign code runs shielded, so that a panic costs one message.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

#[cfg(test)]
use super::simulation;
use super::{
    Pulse,
    meters::Meters,
    pulse::Outage,
    schedule::{Batch, Sequence},
};
use crate::{
    codec::{Codec, Message, Request},
    predict::{AnsweredBy, ModelIdentity, PredictError, Predictor, Served, checked},
    shield::{self, shielded},
    transport::{Attributes, Delivery, Rejection, Source},
};

/// How soon a thread that waits for its model notices that nobody waits for it.
const STEP: Duration = Duration::from_millis(100);

/// What a codec reads of a message: copies, of which all but the ids share what the delivery has.
pub(super) struct Unread {
    id: String,
    source: Source,
    key: Option<Bytes>,
    attributes: Attributes,
    payload: Bytes,
}

impl Unread {
    pub(super) fn of<T>(delivery: &Delivery<T>) -> Self {
        Self {
            id: delivery.id.clone(),
            source: delivery.source.clone(),
            key: delivery.key.clone(),
            attributes: delivery.attributes.clone(),
            payload: delivery.payload.clone(),
        }
    }
}

/// Messages that were received together, with when.
pub(super) type ToRead = (Instant, Vec<(Sequence, Unread)>);

/// The same, read.
pub(super) type Read<C> = Vec<(Sequence, Result<Request<C>, Rejection>)>;

/// A batch with an answer, or the reason why there is none, for each input.
#[derive(Debug)]
pub(crate) struct Inferred<O> {
    pub(crate) shares: Vec<(Sequence, usize)>,
    pub(crate) answers: Vec<Result<O, String>>,
    /// The model that computed all of them.
    pub(crate) model: Arc<ModelIdentity>,
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
    /// `work` may give up where its second argument says that nobody waits any more.
    fn spawn(
        name: &str,
        capacity: usize,
        mut work: impl FnMut(I, &dyn Fn() -> bool) -> Option<O> + Send + 'static,
    ) -> Self {
        let (input, mut inputs) = mpsc::channel(capacity);
        let (outputs, output) = mpsc::channel(capacity);
        let run = move || {
            while let Some(item) = inputs.blocking_recv() {
                let Some(done) = work(item, &|| outputs.is_closed()) else { break };
                if outputs.blocking_send(done).is_err() {
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
pub(super) type Decoder<C> = Worker<ToRead, Read<C>>;

/// Starts the thread that reads messages.
pub(super) fn decoder<C: Codec>(
    codec: Arc<C>,
    keeps_inputs: bool,
    capacity: usize,
    meters: Arc<Meters>,
) -> Decoder<C> {
    Worker::spawn("stream-decode", capacity, move |batch: ToRead, _| {
        let (received, begun) = (batch.0, Instant::now());
        let decoded = decode(batch, &*codec, keeps_inputs);
        meters.decoded(received, begun);
        Some(decoded)
    })
}

/// Reads messages; a panic refuses the one that was being read.
pub(super) fn decode<C: Codec>((_, batch): ToRead, codec: &C, keeps_inputs: bool) -> Read<C> {
    let decode = |(sequence, unread): (Sequence, Unread)| {
        let Unread { id, source, key, attributes, payload } = &unread;
        let key = key.as_ref();
        let message = Message { id, source, key, attributes, payload, keeps_inputs };
        (sequence, shield::read(codec, message))
    };
    batch.into_iter().map(decode).collect()
}

/// The thread that answers batches.
pub(super) type Inference<I, O> = Worker<Batch<I>, Inferred<O>>;

/// Starts the thread that answers batches.
pub(super) fn inference<P: Predictor>(
    model: Arc<P>,
    capacity: usize,
    meters: Arc<Meters>,
    pulse: Pulse,
) -> Inference<P::Input, P::Output> {
    Worker::spawn("stream-infer", capacity, move |batch: Batch<P::Input>, is_over| {
        let mut outage = Outage::new(&pulse);
        let inferred = loop {
            match infer(&batch, &*model) {
                Ok(inferred) => break inferred,
                Err(reason) => {
                    let until = Instant::now() + outage.pause(&model.identity().name, &reason);
                    while Instant::now() < until {
                        if is_over() {
                            return None;
                        }
                        thread::sleep(STEP);
                    }
                    outage.try_again();
                }
            }
        };
        meters.inferred(inferred.answers.len(), &inferred.model, batch.since, inferred.took);
        Some(inferred)
    })
}

/// How often a batch is computed because the model is exchanged meanwhile.
const MOST_EXCHANGES: usize = 3;

/// Answers a batch by one model.
///
/// # Errors
/// Why the model can't answer now.
pub(crate) fn infer<P: Predictor>(
    batch: &Batch<P::Input>,
    model: &P,
) -> Result<Inferred<P::Output>, String> {
    for _ in 0..MOST_EXCHANGES {
        let (begun, first) = (Instant::now(), model.identity());
        let answers = Vec::with_capacity(batch.inputs.len());
        let mut found = Found { answers, by: AnsweredBy::default() };
        bisect(model, &batch.inputs, &mut found)?;
        // What the model before failed on may be nothing to fail on.
        let has_failed = found.answers.iter().any(Result::is_err);
        let is_exchanged = found.by.is_mixed || (has_failed && model.identity() != first);
        if !is_exchanged {
            let (shares, model) = (batch.shares.clone(), found.by.model.unwrap_or(first));
            let (answers, at, took) = (found.answers, Timestamp::now(), begun.elapsed());
            return Ok(Inferred { shares, answers, model, at, took });
        }
    }
    Err("it is exchanged again and again in the midst of a batch".to_owned())
}

struct Found<O> {
    answers: Vec<Result<O, String>>,
    by: AnsweredBy,
}

/// Infers, and bisects what fails down to the inputs that fail: one of 256 costs log2(256) extra calls and
/// one dead letter, not 256.
fn bisect<P: Predictor>(
    model: &P,
    inputs: &[P::Input],
    found: &mut Found<P::Output>,
) -> Result<(), String> {
    let served = shielded(|| checked(model, inputs));
    let panicked = |_| Err(PredictError::from("the model panicked".to_owned()));
    let served = served.unwrap_or_else(panicked);
    #[cfg(test)]
    let served = match served {
        Err(PredictError::Unavailable { reason })
            if simulation::is_planted(simulation::Fault::DeadLettersAnOutage) =>
        {
            Err(PredictError::Input { reason })
        }
        served => served,
    };
    match served {
        Ok(Served { outputs, model }) => {
            found.answers.extend(outputs.into_iter().map(Ok));
            found.by.add(&model);
        }
        Err(PredictError::Unavailable { reason }) => return Err(reason),
        Err(PredictError::Input { reason }) if inputs.len() <= 1 => {
            found.answers.push(Err(reason));
        }
        Err(PredictError::Input { .. }) => {
            let (left, right) = inputs.split_at(inputs.len() / 2);
            bisect(model, left, found)?;
            bisect(model, right, found)?;
        }
    }
    Ok(())
}
