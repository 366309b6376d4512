//! A candidate that answers a share of the batches behind the model in service, on a thread of its own. What
//! it costs is its own: it begins a piece only while that model is idle, and publishes nothing.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::tally::{ShadowReport, Tally};
use crate::{
    lock::Sound,
    predict::{ModelIdentity, Predictor, Served, checked},
    shield::shielded,
};

/// Inputs that a candidate is given at once: between two pieces it looks whether messages wait.
const PIECE: usize = 32;
/// Batches that wait for the candidate; what comes meanwhile is not compared.
const WAITING: usize = 2;
/// How long a batch waits for the model in service to be idle.
const PATIENCE: Duration = Duration::from_secs(1);

type Class<P> = dyn Fn(&<P as Predictor>::Output) -> String + Send + Sync;

/// How a candidate is compared with the model in service, see [`ModelSlot::shadow`](super::ModelSlot::shadow).
pub struct Shadow<P: Predictor> {
    share: f64,
    class: Arc<Class<P>>,
    copy: fn(&[P::Input]) -> Vec<P::Input>,
}

impl<P: Predictor<Input: Clone>> Shadow<P> {
    /// A candidate agrees where `class` makes the same of both answers: the label, a decision, a rounded
    /// number. A tenth of the batches is compared, unless told otherwise.
    pub fn by(class: impl Fn(&P::Output) -> String + Send + Sync + 'static) -> Self {
        Self { share: 0.1, class: Arc::new(class), copy: |inputs| inputs.to_vec() }
    }

    /// Compares this share of the batches, 0.0 to 1.0, where there is time for it.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.share = share.clamp(0.0, 1.0);
        self
    }
}

/// A model that is compared. Its thread ends when it is dropped.
pub(super) struct Candidate<P: Predictor> {
    model: Arc<P>,
    shadow: Shadow<P>,
    batches: AtomicU64,
    jobs: SyncSender<Job<P::Input>>,
    desk: Arc<Desk<P::Input>>,
}

struct Job<I> {
    inputs: Vec<I>,
    /// What the model in service said of each, and which that was.
    served: Vec<String>,
    beside: Arc<ModelIdentity>,
    took: Duration,
}

/// What the serving threads and the candidate's share.
struct Desk<I> {
    /// Batches that the model in service computes now.
    busy: Mutex<usize>,
    idle: Condvar,
    tally: Mutex<Tally<I>>,
}

impl<P: Predictor> Candidate<P> {
    pub(super) fn start(model: P, shadow: Shadow<P>) -> Self {
        let model = Arc::new(model);
        let tally = Mutex::new(Tally::of(model.identity()));
        let desk = Arc::new(Desk { busy: Mutex::new(0), idle: Condvar::new(), tally });
        let (jobs, given) = sync_channel(WAITING);
        let compare = {
            let (model, class, desk) =
                (Arc::clone(&model), Arc::clone(&shadow.class), Arc::clone(&desk));
            move || desk.compare(&*model, &*class, &given)
        };
        if let Err(error) = thread::Builder::new().name("model-shadow".to_owned()).spawn(compare) {
            tracing::warn!(%error, "the candidate has no thread, and is not compared");
        }
        Self { model, shadow, batches: AtomicU64::new(0), jobs, desk }
    }

    pub(super) fn model(&self) -> Arc<P> {
        Arc::clone(&self.model)
    }

    pub(super) fn report(&self) -> ShadowReport<P::Input> {
        self.desk.tally.lock().sound().report()
    }

    /// Keeps the candidate from computing until this is dropped.
    pub(super) fn keep_off(&self) -> Busy<P::Input> {
        *self.desk.busy.lock().sound() += 1;
        Busy(Arc::clone(&self.desk))
    }

    /// Has a batch compared, if it is of the share and there is room.
    pub(super) fn offer(&self, inputs: &[P::Input], served: &Served<P::Output>, took: Duration) {
        let nth = self.batches.fetch_add(1, Ordering::Relaxed) as f64;
        if ((nth + 1.0) * self.shadow.share).floor() <= (nth * self.shadow.share).floor() {
            return;
        }
        {
            let mut tally = self.desk.tally.lock().sound();
            let tally = tally.beside(&served.model);
            if tally.waiting == WAITING {
                return tally.skip(inputs.len());
            }
            tally.waiting += 1;
        }
        // Foreign code, and so without a lock; its panic is the candidate's affair, not the message's.
        let job = shielded(|| Job {
            inputs: (self.shadow.copy)(inputs),
            served: served.outputs.iter().map(|output| (self.shadow.class)(output)).collect(),
            beside: Arc::clone(&served.model),
            took,
        });
        // There is room, or no thread.
        if job.ok().and_then(|job| self.jobs.try_send(job).ok()).is_none() {
            self.desk.tally.lock().sound().waiting -= 1;
        }
    }
}

/// See [`Candidate::keep_off`].
pub(super) struct Busy<I>(Arc<Desk<I>>);

impl<I> Drop for Busy<I> {
    fn drop(&mut self) {
        *self.0.busy.lock().sound() -= 1;
        self.0.idle.notify_one();
    }
}

impl<I> Desk<I> {
    fn compare<P: Predictor<Input = I>>(
        &self,
        model: &P,
        class: &Class<P>,
        jobs: &Receiver<Job<I>>,
    ) {
        for Job { inputs, served, beside, took } in jobs {
            self.tally.lock().sound().waiting -= 1;
            let mut left = inputs.len();
            let each = took.as_secs_f64() / left.max(1) as f64;
            let mut inputs_left = inputs.into_iter();
            let mut served = served.into_iter();
            while left > 0 {
                if !self.is_idle_within(PATIENCE) {
                    self.tally.lock().sound().beside(&beside).skip(left);
                    break;
                }
                let piece: Vec<I> = inputs_left.by_ref().take(PIECE).collect();
                left -= piece.len();
                let begun = Instant::now();
                let answered = shielded(|| {
                    let answered = checked(model, &piece).map_err(|error| error.to_string())?;
                    Ok(answered.outputs.iter().map(class).collect::<Vec<_>>())
                });
                let served_in = Duration::from_secs_f64(each * piece.len() as f64);
                let spent = [served_in, begun.elapsed()];
                let served: Vec<String> = served.by_ref().take(piece.len()).collect();
                let mut tally = self.tally.lock().sound();
                let tally = tally.beside(&beside);
                match answered.and_then(|answered: Result<_, String>| answered) {
                    Ok(found) => tally.add(piece, served, found, spent),
                    Err(reason) => {
                        tracing::debug!(reason, "the candidate fails");
                        tally.fail(piece.len());
                    }
                }
            }
        }
    }

    fn is_idle_within(&self, patience: Duration) -> bool {
        let busy = self.busy.lock().sound();
        *self.idle.wait_timeout_while(busy, patience, |busy| *busy > 0).sound().0 == 0
    }
}
