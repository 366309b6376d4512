//! The broker of a schedule, and the model of its pipeline.

mod item;
mod judge;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use item::Item;
pub(super) use item::Place;
pub(super) use judge::Fate;

use super::Fault;
use crate::{lock::Sound, predict::ModelIdentity};

/// After what time a client gives a publication up.
const GIVING_UP: Duration = Duration::from_secs(30);
/// How often the model is exchanged at most: who takes many batches comes to an end all the same.
const MOST_EXCHANGES: u32 = 3;
/// How long the model is away at times, at most.
const MODEL_AWAY: Duration = Duration::from_secs(20);

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
        self.0.state.lock().sound()
    }

    /// Runs beside the consumer, until it crashes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.lock().sound().spawn(task);
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

    /// In an outage, waits as long as a client tries; returns whether it gave up.
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
        *self.0.tasks.lock().sound() = JoinSet::new();
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

impl State {
    /// True once in `n` times.
    pub(super) fn chance(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// Leases a message; returns the lease and which delivery this is.
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
}
