//! The broker of a schedule, and the judge of what became of its messages.

use std::{
    collections::BTreeSet,
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{predict::ModelIdentity, toy::Record, transport::Outbound};

/// After what time a client gives a publication up.
const GIVING_UP: Duration = Duration::from_secs(30);
/// How often the model is exchanged at most: who takes many batches comes to an end all the same.
const MOST_EXCHANGES: u32 = 3;
/// How long the model is away at times, at most.
const MODEL_AWAY: Duration = Duration::from_secs(20);

/// Mistakes that other systems made, or this one did, put back in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Fault {
    /// Offset N acknowledges everything before it, whatever became of it.
    CommitsTheMaximum,
    /// A crash between acknowledgement and publication loses the message.
    AcknowledgesBeforePublishing,
    /// A message that is to be delivered again is done with.
    LosesRetries,
    /// A retry leaves later messages of its lane where they are.
    PublishesPastARetry,
    /// The pipeline settles messages as they are done, whatever their lane.
    IgnoresLanes,
    /// Results are visible before the offsets are committed, in spite of exactly once.
    CommitsResultsWithoutOffsets,
    /// What is in flight at the end is acknowledged and forgotten.
    DropsOnShutdown,
    /// An outcome counts although the message was delivered again in the meantime.
    AcceptsLateOutcomes,
    /// A message that is handed back has got on, as far as the pulse can tell.
    RetriesAreProgress,
    /// Large ranges take turns at the model, and so all of them end last.
    LargeRangesInLockstep,
    /// A message is answered by two models, of which its record names one.
    MixesModels,
    /// A model that can't answer now has failed on the input, as far as the pipeline can tell.
    DeadLettersAnOutage,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::CommitsTheMaximum,
        Self::AcknowledgesBeforePublishing,
        Self::LosesRetries,
        Self::PublishesPastARetry,
        Self::IgnoresLanes,
        Self::CommitsResultsWithoutOffsets,
        Self::DropsOnShutdown,
        Self::AcceptsLateOutcomes,
        Self::RetriesAreProgress,
        Self::LargeRangesInLockstep,
        Self::MixesModels,
        Self::DeadLettersAnOutage,
    ];
}

/// What happened in schedules that broke no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) messages: usize,
    pub(super) answered: usize,
    pub(super) rejected: usize,
    pub(super) duplicates: usize,
    pub(super) redelivered: usize,
    pub(super) crashes: usize,
    pub(super) aborts: usize,
    pub(super) exchanges: usize,
    pub(super) outages: usize,
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.answered += other.answered;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
        self.redelivered += other.redelivered;
        self.crashes += other.crashes;
        self.aborts += other.aborts;
        self.exchanges += other.exchanges;
        self.outages += other.outages;
    }
}

/// What a message must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Answer,
    DeadLetter,
    /// It fails at times.
    Either,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) lane: Option<u8>,
    pub(super) message: Outbound,
    expected: Expected,
    /// Of a range that no batch takes whole, and that is in no lane.
    is_large: bool,
    pub(super) place: Place,
    /// Under which lease it was answered, or may have been answered by two models.
    answered: u64,
    deliveries: u32,
    pub(super) answers: usize,
    written: usize,
    pub(super) letters: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Leased(u64),
    /// An outcome was accepted, and is not yet confirmed.
    Settling(u64),
    /// Acknowledged.
    Done,
}

/// Clones are the same world.
#[derive(Clone)]
pub(super) struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    tasks: Mutex<JoinSet<()>>,
    /// Transactions are one after the other.
    pub(super) transaction: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    pub(super) rng: ChaCha8Rng,
    pub(super) fault: Option<Fault>,
    pub(super) exactly_once: bool,
    pub(super) items: Vec<Item>,
    /// The ends of each lane's messages, in the order in which a reader sees them.
    ends: Vec<usize>,
    /// Lanes in which a message failed while later ones were on their way.
    unordered: BTreeSet<Option<u8>>,
    leases: u64,
    pub(super) broken: Option<String>,
    /// Until when nothing that is settled is confirmed.
    outage: Option<Instant>,
    model: Arc<ModelIdentity>,
    exchanges_left: u32,
    /// Until when the model can't answer.
    model_away: Option<Instant>,
    fate: Fate,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = rng.random_range(1..=10);
        // Of the messages that any one of them may be, several large ranges hardly ever meet.
        let ranges_meet = rng.random_range(0..4) == 0;
        let item = |_| match ranges_meet && rng.random_range(0..2) == 0 {
            true => Item::large_range(&mut rng),
            false => Item::random(&mut rng),
        };
        let items = (0..count).map(item).collect();
        let exchanges_left = [0, rng.random_range(1..=MOST_EXCHANGES)][rng.random_range(0..2)];
        let state = State {
            exactly_once: rng.random_range(0..2) == 0,
            rng,
            fault,
            items,
            ends: Vec::new(),
            unordered: BTreeSet::new(),
            leases: 0,
            broken: None,
            outage: None,
            model: version(exchanges_left),
            exchanges_left,
            model_away: None,
            fate: Fate { messages: count, ..Fate::default() },
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            tasks: Mutex::default(),
            transaction: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs beside the consumer, until it crashes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// A short time, seldom a long one.
    pub(super) async fn delay(&self) {
        let milliseconds = {
            let rng = &mut self.state().rng;
            match rng.random_range(0..40) {
                0 => rng.random_range(1_000..20_000),
                1..10 => 0,
                _ => rng.random_range(1..10),
            }
        };
        sleep(Duration::from_millis(milliseconds)).await;
    }

    /// In an outage, waits as long as a client tries; answers whether it gave up.
    pub(super) async fn outage(&self) -> bool {
        let is_cut = self.state().is_cut();
        if is_cut {
            sleep(GIVING_UP).await;
        }
        is_cut
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.0.changed
    }

    pub(super) async fn transaction(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.transaction.lock().await
    }

    /// The consumer is gone, with everything it was about to do.
    pub(super) fn crash(&self) {
        *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner) = JoinSet::new();
        self.state().crash();
    }

    /// Resolves when every message is acknowledged.
    pub(super) async fn finished(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.state().is_finished() {
                return;
            }
            changed.await;
        }
    }
}

/// The model that is exchanged so often yet.
fn version(exchanges_left: u32) -> Arc<ModelIdentity> {
    Arc::new(ModelIdentity::of_code("first", &exchanges_left.to_string()))
}

fn range(start: u64, end: u64) -> Vec<u8> {
    format!(r#"{{"start_idx": {start}, "end_idx": {end}}}"#).into_bytes()
}

impl Item {
    /// In no lane, and of more inputs than most batches take.
    fn large_range(rng: &mut ChaCha8Rng) -> Self {
        let inputs = rng.random_range(super::MAX_INPUTS..=u64::from(super::STORED));
        Self::new(None, range(0, inputs), Expected::Answer, inputs)
    }

    fn random(rng: &mut ChaCha8Rng) -> Self {
        let raw = |value: u8| vec![value; 800];
        let (payload, expected, inputs) = match rng.random_range(0..10) {
            0 => (b"{\"start_idx\": ".to_vec(), Expected::DeadLetter, 0),
            1 => (raw(255), Expected::DeadLetter, 1),
            2 => (raw(254), Expected::Either, 1),
            3..=5 => {
                let start = rng.random_range(0..u64::from(super::STORED));
                let end = rng.random_range(start..=u64::from(super::STORED)) + 1;
                let is_in_range = end <= u64::from(super::STORED);
                let expected = if is_in_range { Expected::Answer } else { Expected::DeadLetter };
                (range(start, end), expected, end - start)
            }
            _ => (raw(rng.random_range(0..100)), Expected::Answer, 1),
        };
        let lane = [None, Some(0), Some(0), Some(1)][rng.random_range(0..4)];
        Self::new(lane, payload, expected, inputs)
    }

    fn new(lane: Option<u8>, payload: Vec<u8>, expected: Expected, inputs: u64) -> Self {
        let is_answered = expected == Expected::Answer;
        Self {
            lane,
            is_large: is_answered && lane.is_none() && inputs >= super::MAX_INPUTS,
            answered: 0,
            message: Outbound { payload: payload.into(), ..Outbound::default() },
            expected,
            place: Place::Waiting,
            deliveries: 0,
            answers: 0,
            written: 0,
            letters: 0,
        }
    }
}

impl State {
    /// True once in `n` times.
    pub(super) fn chance(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// Leases a message; answers the lease and which delivery this is.
    pub(super) fn lease(&mut self, index: usize) -> (u64, u32) {
        self.leases += 1;
        let item = &mut self.items[index];
        item.place = Place::Leased(self.leases);
        item.deliveries += 1;
        self.fate.redelivered += usize::from(item.deliveries > 1);
        (self.leases, item.deliveries)
    }

    /// Whether that lease is the last one, and no outcome was accepted under it.
    pub(super) fn holds(&self, index: usize, lease: u64) -> bool {
        self.items[index].place == Place::Leased(lease)
    }

    /// Hands a message back, and with it every later one of its lane.
    pub(super) fn pull_back(&mut self, index: usize) {
        self.items[index].place = Place::Waiting;
        let lane = self.items[index].lane;
        if lane.is_none() || self.fault == Some(Fault::PublishesPastARetry) {
            return;
        }
        for item in &mut self.items[index + 1..] {
            if item.lane == lane && item.place != Place::Done {
                item.place = Place::Waiting;
            }
        }
    }

    /// The messages before this one in its lane.
    pub(super) fn earlier(&self, index: usize) -> impl Iterator<Item = usize> + use<'_> {
        let lane = self.items[index].lane;
        (0..index).filter(move |&other| lane.is_some() && self.items[other].lane == lane)
    }

    /// A reader sees an end of this message.
    pub(super) fn ended(&mut self, index: usize, is_answer: bool) {
        let item = &mut self.items[index];
        if is_answer {
            item.answers += 1;
        } else {
            item.letters += 1;
        }
        self.ends.push(index);
    }

    /// The sink is to have a result of this message, and so it has been answered: by one model. Of
    /// large ranges the first received comes first.
    pub(super) fn answered(&mut self, record: &Record) {
        let id = &record.id;
        if !record.is_of_one_model() {
            let (named, models) = (&record.model.version, record.said_by.len());
            let broken = format!("{models} models answered message {id}, which names {named}");
            self.broken.get_or_insert(broken);
        }
        let Some(index) = id.parse().ok().filter(|index: &usize| *index < self.items.len()) else {
            return;
        };
        let Place::Leased(lease) = self.items[index].place else { return };
        let is_earlier = |item: &Item| {
            item.is_large
                && matches!(item.place, Place::Leased(other) if other < lease)
                && item.place != Place::Leased(item.answered)
        };
        if self.items[index].is_large
            && let Some(missed) = self.items.iter().position(is_earlier)
        {
            let broken = format!("range {index} was answered before {missed}, received earlier");
            self.broken.get_or_insert(broken);
        }
        self.items[index].answered = lease;
    }

    /// The model that answers now.
    pub(super) fn model(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.model)
    }

    /// At times another model takes over, or the model goes away for a while.
    pub(super) fn may_exchange_the_model(&mut self) {
        if self.exchanges_left > 0 && self.chance(8) {
            self.exchanges_left -= 1;
            self.fate.exchanges += 1;
            self.model = version(self.exchanges_left);
            // What two models answered comes again, and so it is overtaken by what is received later.
            for item in &mut self.items {
                if let Place::Leased(lease) = item.place {
                    item.answered = lease;
                }
            }
        }
        if !self.is_model_away() && self.chance(64) {
            let away = self.rng.random_range(1..=MODEL_AWAY.as_millis() as u64);
            self.send_the_model_away(Duration::from_millis(away));
        }
    }

    /// The model can't answer for so long from now on.
    pub(super) fn send_the_model_away(&mut self, duration: Duration) {
        self.fate.outages += 1;
        self.model_away = Some(Instant::now() + duration);
    }

    pub(super) fn is_model_away(&self) -> bool {
        self.model_away.is_some_and(|until| Instant::now() < until)
    }

    /// Confirms nothing for so long from now on.
    pub(super) fn cut(&mut self, duration: Duration) {
        self.outage = Some(Instant::now() + duration);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.outage.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.items.iter().all(|item| item.place == Place::Done)
    }

    /// The sink has a result of this message.
    pub(super) fn written(&mut self, id: &str) {
        if let Some(item) = id.parse().ok().and_then(|index: usize| self.items.get_mut(index)) {
            item.written += 1;
        }
    }

    /// The order of this message's lane is no longer promised.
    pub(super) fn may_be_unordered(&mut self, index: usize) {
        self.unordered.insert(self.items[index].lane);
    }

    pub(super) fn aborted(&mut self) {
        self.fate.aborts += 1;
    }

    pub(super) fn acknowledge(&mut self, index: usize) {
        if self.fault == Some(Fault::CommitsTheMaximum) {
            for other in self.earlier(index).collect::<Vec<_>>() {
                self.items[other].place = Place::Done;
            }
        }
        self.items[index].place = Place::Done;
    }

    /// As a log's consumer: what lies past a hole of its lane is delivered again.
    fn crash(&mut self) {
        self.fate.crashes += 1;
        for index in 0..self.items.len() {
            let is_whole =
                self.earlier(index).all(|earlier| self.items[earlier].place == Place::Done);
            if self.items[index].place != Place::Done || !is_whole {
                self.items[index].place = Place::Waiting;
            }
        }
    }

    pub(super) fn unfinished(&self) -> String {
        let left = self.items.iter().enumerate().filter(|(_, item)| item.place != Place::Done);
        let left: Vec<_> = left.map(|(index, item)| (index, item.place)).collect();
        self.broken.clone().unwrap_or_else(|| format!("never acknowledged: {left:?}"))
    }

    /// Whether every message came to what it must, in its lane's order, and once where promised.
    pub(super) fn judge(&mut self) -> Result<Fate, String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        for (index, item) in self.items.iter().enumerate() {
            let Item { answers, letters, written, expected, deliveries, .. } = *item;
            let ends = answers + letters;
            if ends == 0 {
                return Err(format!("message {index} is lost after {deliveries} deliveries"));
            }
            let fits = match expected {
                Expected::Answer => letters == 0 && written > 0,
                Expected::DeadLetter => answers == 0,
                Expected::Either => answers == 0 || written > 0,
            };
            if !fits {
                return Err(format!(
                    "message {index}, {expected:?}: {answers} answers, {letters} dead letters, \
                     {written} records"
                ));
            }
            if self.exactly_once && ends > 1 {
                return Err(format!("message {index} has {ends} ends under exactly once"));
            }
            self.fate.answered += usize::from(answers > 0);
            self.fate.rejected += usize::from(letters > 0);
            self.fate.duplicates += ends - 1;
        }
        for (position, &index) in self.ends.iter().enumerate() {
            if self.unordered.contains(&self.items[index].lane) {
                continue;
            }
            if let Some(missed) = self.earlier(index).find(|i| !self.ends[..position].contains(i)) {
                return Err(format!("message {index} ended before {missed} of its lane"));
            }
        }
        Ok(self.fate)
    }
}
