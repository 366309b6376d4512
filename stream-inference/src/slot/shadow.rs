use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use super::{ModelSlot, SwapError, shielded};
use crate::{
    names,
    predict::{ModelIdentity, Predictor, Served, checked},
};

/// Inputs that a candidate is given at once: between two pieces it looks whether messages wait.
const PIECE: usize = 32;
/// Batches that wait for the candidate; what comes meanwhile is not compared.
const WAITING: usize = 2;
/// How long a batch waits for the model in service to be idle.
const PATIENCE: Duration = Duration::from_secs(1);
/// Inputs that are kept because the two models differ on them.
const KEPT: usize = 24;
/// Pairs of classes that are counted apart, so that memory and series have an end whatever names classes.
const PAIRS: usize = 1_000;
/// Both classes of any other pair.
const OTHER: &str = "(other)";

type Class<P> = dyn Fn(&<P as Predictor>::Output) -> String + Send + Sync;

/// How a candidate is compared with the model in service, see [`ModelSlot::shadow`].
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

/// How a candidate did so far, beside the model that serves: another begins anew.
#[derive(Clone, Debug)]
pub struct ShadowReport<I> {
    /// Who it is.
    pub candidate: Arc<ModelIdentity>,
    /// Inputs that both answered.
    pub compared: u64,
    /// Those on which both are of one class.
    pub agreed: u64,
    /// Inputs that the candidate failed on.
    pub failed: u64,
    /// Inputs of its share that it was not given, because messages waited.
    pub skipped: u64,
    /// What both took for what was compared: the model in service, and the candidate.
    pub took: [Duration; 2],
    /// How often the model in service said the first and the candidate the second; beyond the first 1,000
    /// pairs both are `(other)`.
    pub disagreements: BTreeMap<[String; 2], u64>,
    /// The latest inputs on which they differ, the oldest first.
    pub differences: Vec<Arc<Difference<I>>>,
}

/// An input on which two models differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<I> {
    /// The input.
    pub input: I,
    /// What the model in service says.
    pub served: String,
    /// What the candidate says.
    pub candidate: String,
}

impl<I> ShadowReport<I> {
    /// The share of compared inputs on which both are of one class; `None` before the first.
    pub fn agreement(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.agreed as f64 / self.compared as f64)
    }

    /// The candidate's time over that of the model in service.
    pub fn time_ratio(&self) -> Option<f64> {
        let [served, candidate] = self.took.map(|took| took.as_secs_f64());
        (served > 0.0 && candidate > 0.0).then(|| candidate / served)
    }
}

impl<P: Predictor<Input: Clone>> ModelSlot<P> {
    /// Has a candidate answer a share of the batches behind the model in service, on a thread of its own. It
    /// begins a piece of 32 inputs only while that one is idle, and publishes nothing. It is verified as by
    /// [`ModelSlot::swap`], and takes the place of the candidate before it.
    ///
    /// # Errors
    /// [`SwapError::Refused`].
    pub fn shadow(&self, candidate: P, shadow: Shadow<P>) -> Result<(), SwapError> {
        let _one_at_a_time = self.0.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        self.admit(&candidate)?;
        let (serving, identity) = (self.identity(), candidate.identity());
        tracing::info!(%serving, candidate = %identity, "a candidate is compared");
        self.set_candidate(Some(Arc::new(Candidate::start(candidate, shadow))));
        Ok(())
    }
}

impl<P: Predictor> ModelSlot<P> {
    /// How the candidate did so far, where there is one.
    pub fn shadow_report(&self) -> Option<ShadowReport<P::Input>> {
        let candidate = self.candidate()?;
        let tally = candidate.desk.tally();
        Some(ShadowReport {
            candidate: candidate.model.identity(),
            compared: tally.compared,
            agreed: tally.agreed,
            failed: tally.failed,
            skipped: tally.skipped,
            took: tally.took,
            disagreements: tally.disagreements(),
            differences: tally.differences.iter().cloned().collect(),
        })
    }

    /// Puts the candidate into service, verified once more. Returns the identity of the model before it.
    ///
    /// # Errors
    /// [`SwapError::NoCandidate`] and [`SwapError::Refused`].
    pub fn promote(&self) -> Result<Arc<ModelIdentity>, SwapError> {
        let _one_at_a_time = self.0.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || SwapError::NoCandidate { current: self.identity().to_string() };
        let candidate = self.candidate().ok_or_else(none)?;
        let before = self.put(Arc::clone(&candidate.model))?;
        self.set_candidate(None);
        Ok(before)
    }

    /// Compares no more.
    pub fn dismiss(&self) {
        self.set_candidate(None);
    }

    pub(super) fn candidate(&self) -> Option<Arc<Candidate<P>>> {
        self.0.candidate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_candidate(&self, candidate: Option<Arc<Candidate<P>>>) {
        let mut place = self.0.candidate.write().unwrap_or_else(PoisonError::into_inner);
        let _before = std::mem::replace(&mut *place, candidate);
        drop(place);
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
    /// Of the recorder that there is when the candidate comes.
    agreed: Counter,
    failed: Counter,
    skipped: Counter,
    time_ratio: Gauge,
}

pub(super) struct Tally<I> {
    waiting: usize,
    /// The model that what follows is compared with.
    beside: Option<Arc<ModelIdentity>>,
    compared: u64,
    agreed: u64,
    failed: u64,
    skipped: u64,
    took: [Duration; 2],
    /// Has pairs that were counted beside an earlier model as well.
    disagreements: BTreeMap<[String; 2], u64>,
    differences: VecDeque<Arc<Difference<I>>>,
}

impl<I> Default for Tally<I> {
    fn default() -> Self {
        Self {
            waiting: 0,
            beside: None,
            compared: 0,
            agreed: 0,
            failed: 0,
            skipped: 0,
            took: [Duration::ZERO; 2],
            disagreements: BTreeMap::new(),
            differences: VecDeque::new(),
        }
    }
}

impl<P: Predictor> Candidate<P> {
    fn start(model: P, shadow: Shadow<P>) -> Self {
        let model = Arc::new(model);
        let desk = Arc::new(Desk {
            busy: Mutex::new(0),
            idle: Condvar::new(),
            tally: Mutex::default(),
            agreed: inputs("agreed"),
            failed: inputs("failed"),
            skipped: inputs("skipped"),
            time_ratio: gauge!(names::metric("shadow_time_ratio")),
        });
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

    /// Keeps the candidate from computing until this is dropped.
    pub(super) fn keep_off(&self) -> Busy<P::Input> {
        *self.desk.busy() += 1;
        Busy(Arc::clone(&self.desk))
    }

    /// Has a batch compared, if it is of the share and there is room.
    pub(super) fn offer(&self, inputs: &[P::Input], served: &Served<P::Output>, took: Duration) {
        let nth = self.batches.fetch_add(1, Ordering::Relaxed) as f64;
        if ((nth + 1.0) * self.shadow.share).floor() <= (nth * self.shadow.share).floor() {
            return;
        }
        {
            let mut tally = self.desk.tally_beside(&served.model);
            if tally.waiting == WAITING {
                tally.skipped += inputs.len() as u64;
                return self.desk.skipped.increment(inputs.len() as u64);
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
            self.desk.tally().waiting -= 1;
        }
    }
}

/// See [`Candidate::keep_off`].
pub(super) struct Busy<I>(Arc<Desk<I>>);

impl<I> Drop for Busy<I> {
    fn drop(&mut self) {
        *self.0.busy() -= 1;
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
            self.tally().waiting -= 1;
            let mut left = inputs.len();
            let each = took.as_secs_f64() / left.max(1) as f64;
            let mut inputs_left = inputs.into_iter();
            let mut served = served.into_iter();
            while left > 0 {
                if !self.is_idle_within(PATIENCE) {
                    self.tally_beside(&beside).skipped += left as u64;
                    self.skipped.increment(left as u64);
                    break;
                }
                let piece: Vec<I> = inputs_left.by_ref().take(PIECE).collect();
                left -= piece.len();
                let begun = std::time::Instant::now();
                let answered = shielded(|| {
                    let answered = checked(model, &piece).map_err(|error| error.to_string())?;
                    Ok(answered.outputs.iter().map(class).collect::<Vec<_>>())
                });
                let served_in = Duration::from_secs_f64(each * piece.len() as f64);
                let spent = [served_in, begun.elapsed()];
                let served: Vec<String> = served.by_ref().take(piece.len()).collect();
                match answered.and_then(|answered: Result<_, String>| answered) {
                    Ok(found) => self.add(&beside, piece, served, found, spent),
                    Err(reason) => {
                        tracing::debug!(reason, "the candidate fails");
                        self.tally_beside(&beside).failed += piece.len() as u64;
                        self.failed.increment(piece.len() as u64);
                    }
                }
            }
        }
    }

    fn add(
        &self,
        beside: &Arc<ModelIdentity>,
        inputs: Vec<I>,
        served: Vec<String>,
        found: Vec<String>,
        took: [Duration; 2],
    ) {
        let mut tally = self.tally_beside(beside);
        let before = tally.agreed;
        tally.add(inputs, served, found, took);
        self.agreed.increment(tally.agreed - before);
        let [served, candidate] = tally.took.map(|took| took.as_secs_f64());
        if served > 0.0 {
            self.time_ratio.set(candidate / served);
        }
    }

    fn is_idle_within(&self, patience: Duration) -> bool {
        let waited = self.idle.wait_timeout_while(self.busy(), patience, |busy| *busy > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    fn busy(&self) -> MutexGuard<'_, usize> {
        // Nothing under the lock panics.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tally beside this model: where it was another before, it begins anew.
    fn tally_beside(&self, model: &Arc<ModelIdentity>) -> MutexGuard<'_, Tally<I>> {
        let mut tally = self.tally();
        if tally.beside.as_ref() != Some(model) {
            tally.begin(Arc::clone(model));
        }
        tally
    }

    fn tally(&self) -> MutexGuard<'_, Tally<I>> {
        // Nothing under the lock panics.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I> Tally<I> {
    fn begin(&mut self, beside: Arc<ModelIdentity>) {
        let (waiting, mut known) = (self.waiting, std::mem::take(&mut self.disagreements));
        // Their series are there for good, and so they go on to count among those that may be.
        known.values_mut().for_each(|inputs| *inputs = 0);
        *self = Self { waiting, beside: Some(beside), disagreements: known, ..Self::default() };
    }

    pub(super) fn disagreements(&self) -> BTreeMap<[String; 2], u64> {
        let counted = self.disagreements.iter().filter(|(_, inputs)| **inputs > 0);
        counted.map(|(pair, inputs)| (pair.clone(), *inputs)).collect()
    }

    pub(super) fn add(
        &mut self,
        inputs: Vec<I>,
        served: Vec<String>,
        found: Vec<String>,
        took: [Duration; 2],
    ) {
        self.compared += inputs.len() as u64;
        self.took = [0, 1].map(|who| self.took[who] + took[who]);
        let mut agreed = 0;
        for ((input, served), candidate) in inputs.into_iter().zip(served).zip(found) {
            if served == candidate {
                agreed += 1;
                continue;
            }
            let mut pair = [served.clone(), candidate.clone()];
            if self.disagreements.len() >= PAIRS && !self.disagreements.contains_key(&pair) {
                pair = [OTHER.to_owned(), OTHER.to_owned()];
            }
            let [first, second] = pair.clone();
            counter!(
                names::metric("shadow_disagreements_total"),
                "served" => first, "candidate" => second
            )
            .increment(1);
            *self.disagreements.entry(pair).or_default() += 1;
            if self.differences.len() == KEPT {
                self.differences.pop_front();
            }
            self.differences.push_back(Arc::new(Difference { input, served, candidate }));
        }
        self.agreed += agreed;
    }
}

pub(super) fn describe() {
    describe_counter!(
        names::metric("shadow_total"),
        "Inputs of a candidate's share: agreed, failed, or skipped because messages waited."
    );
    describe_counter!(
        names::metric("shadow_disagreements_total"),
        "Inputs on which the model in service and the candidate differ."
    );
    describe_gauge!(
        names::metric("shadow_time_ratio"),
        "The candidate's time over that of the model in service."
    );
    for outcome in ["agreed", "failed", "skipped"] {
        inputs(outcome).increment(0);
    }
}

fn inputs(outcome: &'static str) -> Counter {
    counter!(names::metric("shadow_total"), "outcome" => outcome)
}
