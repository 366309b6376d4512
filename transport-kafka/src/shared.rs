//! What the consumer's polling task, the transport and its tokens share.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{consumer::ConsumerGroupMetadata, error::KafkaError};
use stream_inference::{
    Supervisor,
    pipeline::{Pulse, Waiting},
    transport::TransportError,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    claims::{Claim, Claims, Standing},
    intake::ends::Ends,
    marks::{Admission, Marks, Task},
    meters::Meters,
    wire::Fetched,
};

/// Intake pauses above these and resumes below half of them.
const BUFFERED_MESSAGES: usize = 10_000;
const BUFFERED_BYTES: usize = 8 << 20;
/// How long room in the buffer is waited for, without polling, before partitions are paused: pausing
/// throws away what the client has fetched ahead.
const ROOM_WAIT: Duration = Duration::from_millis(500);
/// How often the same trouble is said.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The buffer, what is outstanding on each partition, and whom to wake.
pub(crate) struct Shared {
    pub(crate) topic: Arc<str>,
    pub(crate) meters: Meters,
    /// Of the tasks and threads, and why the consumer can't go on.
    pub(crate) supervisor: Supervisor,
    state: Mutex<State>,
    /// A message was buffered, or the client has trouble to tell.
    pub(crate) arrived: Notify,
    /// The polling task has something to do: room, a place to go back to, an end to commit.
    pub(crate) work: Notify,
    /// A claim may have ended: revoked, pulled back, or the transport closes.
    claims_ended: Notify,
    /// A settlement was confirmed.
    confirmed: Notify,
    /// A transaction ended, the group was joined, or the transport closes.
    moved: Condvar,
    /// Marks are wanted, or written.
    marked: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) claims: Claims,
    pub(crate) marks: Marks,
    pub(crate) buffer: VecDeque<Fetched>,
    pub(crate) buffered_bytes: usize,
    /// Partitions that are not fetched from because the buffer was full.
    pub(crate) paused: BTreeSet<i32>,
    /// Where nothing more is received, if anywhere.
    pub(crate) ends: Option<Ends>,
    settlements: usize,
    /// Whom transactions commit offsets for, as of the last assignment; none between a revocation
    /// and the next assignment.
    pub(crate) member: Option<Arc<ConsumerGroupMetadata>>,
    /// The open transaction's number.
    transaction: Option<u64>,
    transactions: u64,
    /// Transactions that are to be aborted instead of committed.
    aborts: usize,
    closing: bool,
    /// Shares of batches that hold messages, or wait behind such, by partition.
    holds: HashMap<i32, usize>,
    /// What does not take what is sent to it.
    outage: Option<Outage>,
    /// Whom to tell of the place in the group.
    pulse: Option<Pulse>,
    /// When a full producer queue was last said.
    full: Option<Instant>,
    /// Why nothing comes for now, until it was told.
    pub(crate) unavailable: Option<KafkaError>,
}

impl State {
    /// Takes the next message that is not about to be fetched again, with whether it is to be alone.
    pub(crate) fn pop(&mut self, accepts: impl Fn(&Fetched) -> bool) -> Option<(Fetched, bool)> {
        let (index, is_alone) = self.next_admitted()?;
        if !accepts(self.buffer.get(index)?) {
            return None;
        }
        let fetched = self.buffer.remove(index)?;
        self.buffered_bytes -= fetched.size_bytes();
        self.marks.handed_out(fetched.partition, fetched.offset);
        Some((fetched, is_alone))
    }

    /// Where the next message is that may be handed out, and whether by itself: the first one, or
    /// the first of those that were in flight when a consumer did not end well.
    pub(crate) fn next_admitted(&mut self) -> Option<(usize, bool)> {
        self.drop_superseded();
        let (mut index, mut is_idle) = (0, false);
        if self.marks.is_suspicious() {
            is_idle = self.claims.are_idle();
            let is_suspect = |fetched: &Fetched| {
                self.marks.is_suspect(fetched.partition, fetched.offset)
                    && !self.claims.is_seeking(fetched.partition)
            };
            index = self.buffer.iter().position(is_suspect).unwrap_or(0);
            if self.buffer.is_empty() && is_idle {
                self.marks.rest();
            }
        }
        let Fetched { partition, offset, .. } = *self.buffer.get(index)?;
        match self.marks.admit(partition, offset, is_idle) {
            Admission::Free => Some((index, false)),
            Admission::Alone => Some((index, true)),
            Admission::Wait => None,
        }
    }

    /// Drops messages at the front whose partition waits for the consumer to go back.
    pub(crate) fn drop_superseded(&mut self) {
        while let Some(first) = self.buffer.front() {
            if !self.claims.is_seeking(first.partition) {
                return;
            }
            self.buffered_bytes -= first.size_bytes();
            self.buffer.pop_front();
        }
    }

    /// The first message of each partition that was fetched and is not acknowledged.
    pub(crate) fn unacknowledged(&self) -> HashMap<i32, i64> {
        let mut first = self.claims.unacknowledged();
        for fetched in &self.buffer {
            first.entry(fetched.partition).or_insert(fetched.offset);
        }
        first
    }

    /// Takes note of a message that was in flight alone, if nothing is any more.
    fn rest(&mut self) {
        if self.marks.is_suspicious() && self.claims.are_idle() {
            self.marks.rest();
        }
    }

    /// Forgets a revoked partition.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.claims.revoke(partition);
        self.marks.revoke(partition);
        self.discard(partition);
        self.paused.remove(&partition);
        if let Some(ends) = &mut self.ends {
            ends.revoke(partition);
        }
    }

    /// Marks a message as done; see [`Claims::done`].
    pub(crate) fn done(&mut self, claim: Claim) -> Option<i64> {
        let mark = self.claims.done(claim);
        if let (Some(ends), Some(mark)) = (&mut self.ends, mark) {
            ends.done(claim.partition, mark);
        }
        mark
    }

    pub(crate) fn discard(&mut self, partition: i32) {
        self.buffer.retain(|fetched| fetched.partition != partition);
        self.buffered_bytes = self.buffer.iter().map(|fetched| fetched.size_bytes()).sum();
    }

    /// Whether intake is to pause.
    pub(crate) fn is_full(&self) -> bool {
        self.is_above(1)
    }

    pub(crate) fn is_above(&self, share: usize) -> bool {
        self.buffer.len() > BUFFERED_MESSAGES / share
            || self.buffered_bytes > BUFFERED_BYTES / share
    }
}

/// Something outside that does not take what is sent to it.
struct Outage {
    what: String,
    /// When it was said last.
    told: Instant,
    waiting: Option<Waiting>,
}

/// While it lives, verdicts on the partition's later messages wait.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    partition: i32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.holds.get_mut(&self.partition) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&self.partition);
            }
        }
        let is_over = state.holds.is_empty();
        drop(state);
        if is_over {
            self.shared.resumed();
        }
    }
}

impl Shared {
    pub(crate) fn new(topic: &str, ends: Option<Ends>) -> Self {
        let topic = topic.into();
        Self {
            meters: Meters::new(&topic),
            topic,
            supervisor: Supervisor::new(),
            state: Mutex::new(State { ends, ..State::default() }),
            arrived: Notify::new(),
            work: Notify::new(),
            claims_ended: Notify::new(),
            confirmed: Notify::new(),
            moved: Condvar::new(),
            marked: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `pulse` whether this consumer has a place in its group.
    pub(crate) fn attach(&self, pulse: Pulse) {
        self.state().pulse = Some(pulse);
    }

    /// Takes note of whom transactions commit offsets for.
    pub(crate) fn joined(&self, member: Option<ConsumerGroupMetadata>) {
        let mut state = self.state();
        state.member = member.map(Arc::new);
        if let Some(pulse) = &state.pulse {
            pulse.connected();
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Says that nothing was polled for too long, and so the partitions go to others.
    pub(crate) fn breached(&self, error: KafkaError) {
        tracing::error!(
            %error,
            "nothing was polled for max.poll.interval.ms; the partitions go to others"
        );
        self.meters.poll_breaches.increment(1);
        let mut state = self.state();
        if let Some(pulse) = &state.pulse {
            pulse.cut_off();
        }
        state.unavailable = Some(error);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Says that a result waits for room in the producer's queue.
    pub(crate) fn queue_full(&self) {
        self.meters.queue_full.increment(1);
        let mut state = self.state();
        if state.full.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            state.full = Some(Instant::now());
            tracing::warn!(
                topic = &*self.topic,
                "the producer's queue is full: results wait until Kafka confirms earlier ones"
            );
        }
    }

    /// Hands a message back that did not fail itself.
    pub(crate) fn pull_back(&self, claim: Claim) {
        self.state().claims.pull_back(claim);
        self.handed_back();
    }

    /// Hands a message back that failed itself.
    pub(crate) fn retry(&self, claim: Claim) {
        self.state().claims.retry(claim);
        self.handed_back();
    }

    /// Tells the polling task that messages were taken from the buffer.
    pub(crate) fn taken(&self) {
        self.work.notify_one();
    }

    /// Counts a settlement as pending until [`Shared::settled`].
    pub(crate) fn settling(&self) {
        self.state().settlements += 1;
    }

    /// Counts a settlement as answered.
    pub(crate) fn settled(&self) {
        self.state().settlements -= 1;
        self.confirmed.notify_waiters();
        // What waits until nothing is in flight may come now.
        self.arrived.notify_waiters();
    }

    /// Tells the keeper that marks may be wanted.
    pub(crate) fn keep(&self) {
        self.marked.notify_all();
    }

    /// Blocks until the keeper has something to do; `None` once the transport has closed.
    pub(crate) fn next_tasks(&self) -> Option<Vec<Task>> {
        let mut state = self.state();
        loop {
            let tasks = state.marks.tasks();
            if !tasks.is_empty() {
                return Some(tasks);
            }
            if state.closing {
                return None;
            }
            state = self.marked.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells that the keeper has done what it could.
    pub(crate) fn kept(&self) {
        self.marked.notify_all();
        self.arrived.notify_waiters();
    }

    /// Leaves marks on partitions as the next consumer is to find them, within `timeout`.
    pub(crate) fn farewell(&self, partitions: &[i32], timeout: Duration) {
        let mut state = self.state();
        state.rest();
        partitions.iter().for_each(|partition| state.marks.farewell(*partition));
        self.marked.notify_all();
        let waits = |state: &mut State| !partitions.iter().all(|of| state.marks.is_kept(*of));
        drop(self.marked.wait_timeout_while(state, timeout, waits));
    }

    /// Waits until every mark is as it is wanted, until `deadline` at most.
    pub(crate) async fn marks_kept(&self, deadline: Instant) {
        self.keep();
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if self.state().marks.tasks().is_empty() || timeout_at(deadline, arrived).await.is_err()
            {
                return;
            }
        }
    }

    /// Waits until no settlement is pending; false if `deadline` comes first.
    pub(crate) async fn all_settled(&self, deadline: Instant) -> bool {
        loop {
            let mut confirmed = std::pin::pin!(self.confirmed.notified());
            confirmed.as_mut().enable();
            if self.state().settlements == 0 {
                return true;
            }
            if timeout_at(deadline, confirmed).await.is_err() {
                return false;
            }
        }
    }

    /// Blocks until this consumer is a member of its group with an assignment, for at most
    /// `timeout`, and marks a transaction as open under the same lock.
    pub(crate) fn begin(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.member.is_none() && !state.closing;
        let waited = self.moved.wait_timeout_while(self.state(), timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.transactions += 1;
        state.transaction = Some(state.transactions);
        state
    }

    /// Tells the polling task and who holds later messages that some may have been handed back.
    pub(crate) fn handed_back(&self) {
        self.work.notify_one();
        self.claims_ended.notify_waiters();
    }

    /// Tells whoever waits for one of its messages, or for room, that partitions were revoked.
    pub(crate) fn revoked(&self) {
        // What was discarded may have been all that stood between full and empty.
        self.work.notify_one();
        self.claims_ended.notify_waiters();
    }

    /// Tells the polling task that messages are done, where that may be the end.
    pub(crate) fn progressed(&self) {
        if self.state().ends.is_some() {
            self.work.notify_one();
        }
    }

    /// Waits for `future` as long as the claim counts and the transport is there.
    pub(crate) async fn while_valid<O>(
        &self,
        claim: Claim,
        future: impl Future<Output = O>,
    ) -> Option<O> {
        let mut future = std::pin::pin!(future);
        loop {
            let mut ended = std::pin::pin!(self.claims_ended.notified());
            ended.as_mut().enable();
            {
                let state = self.state();
                if state.closing || state.claims.standing(claim) != Standing::Valid {
                    return None;
                }
            }
            tokio::select! {
                output = &mut future => return Some(output),
                () = ended => {}
            }
        }
    }

    /// Marks the open transaction as committed or aborted.
    pub(crate) fn end(&self) {
        self.state().transaction = None;
        self.moved.notify_all();
    }

    /// Whether a fault was injected for the transaction that would commit now.
    pub(crate) fn take_abort(&self) -> bool {
        let mut state = self.state();
        let asked = state.aborts > 0;
        state.aborts = state.aborts.saturating_sub(1);
        asked
    }

    /// See [`crate::KafkaTransport::abort_transactions`].
    #[cfg(feature = "faults")]
    pub(crate) fn abort_transactions(&self, count: usize) {
        self.state().aborts = count;
    }

    /// Holds a partition's messages: verdicts on later ones wait.
    pub(crate) fn hold(self: &Arc<Self>, partition: i32) -> Hold {
        *self.state().holds.entry(partition).or_default() += 1;
        Hold { shared: Arc::clone(self), partition }
    }

    /// Holds further messages of a partition, if some are held.
    pub(crate) fn hold_again(self: &Arc<Self>, partition: i32) -> Option<Hold> {
        let held = self.state().holds.contains_key(&partition);
        held.then(|| self.hold(partition))
    }

    /// Whether any partition's messages are held.
    pub(crate) fn is_holding(&self) -> bool {
        !self.state().holds.is_empty()
    }

    /// Says that `what` does not take what is sent to it, and so messages are held.
    pub(crate) fn waits_for(&self, what: String, error: &(dyn std::error::Error + 'static)) {
        let mut state = self.state();
        let known = state.outage.take().filter(|outage| outage.what == what);
        let is_news = known.as_ref().is_none_or(|known| known.told.elapsed() >= REPORT_INTERVAL);
        if is_news {
            tracing::warn!(
                error,
                "waiting for {what}; what it did not take is held and sent again"
            );
        }
        let told =
            known.as_ref().filter(|_| !is_news).map_or_else(Instant::now, |known| known.told);
        let waiting = known.map_or_else(
            || state.pulse.as_ref().map(|pulse| pulse.waits_for(&what)),
            |known| known.waiting,
        );
        state.outage = Some(Outage { what, told, waiting });
    }

    /// Says that nothing is waited for any more.
    pub(crate) fn resumed(&self) {
        if let Some(Outage { what, .. }) = self.state().outage.take() {
            tracing::info!("{what} is not waited for any more");
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Blocks for so long, or until the transport closes; answers whether it does not.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let waited = self.moved.wait_timeout_while(self.state(), pause, |state| !state.closing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closing
    }

    /// Makes whoever waits for the group or holds a message give up, and lets the parts end.
    pub(crate) fn close(&self) {
        self.supervisor.close();
        let mut state = self.state();
        state.closing = true;
        state.rest();
        state.marks.close();
        drop(state);
        self.moved.notify_all();
        self.marked.notify_all();
        self.claims_ended.notify_waiters();
    }

    /// Blocks until the transaction that is open now has ended, for at most `timeout`.
    ///
    /// That saves an abort and no more: offsets are committed for the member that this consumer was
    /// before the revocation, which the broker refuses once the partitions have another owner.
    pub(crate) fn after_transaction(&self, timeout: Duration) -> MutexGuard<'_, State> {
        let state = self.state();
        let open = state.transaction;
        let waits = |state: &mut State| open.is_some() && state.transaction == open;
        let waited = self.moved.wait_timeout_while(state, timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Why the consumer can't go on, if that is so.
    pub(crate) fn failure(&self) -> Option<TransportError> {
        self.supervisor.failure().map(fatal)
    }

    /// Waits until the consumer can't go on.
    pub(crate) async fn failed(&self) -> TransportError {
        let dropped = || "the transport was dropped before the broker confirmed".into();
        fatal(self.supervisor.ended().await.unwrap_or_else(dropped))
    }

    /// Waits a moment until the buffer takes more, or something else is to be done before that.
    pub(crate) async fn has_room(&self) -> bool {
        let deadline = Instant::now() + ROOM_WAIT;
        loop {
            if self.is_ready() {
                return true;
            }
            if timeout_at(deadline, self.work.notified()).await.is_err() {
                return false;
            }
        }
    }

    fn is_ready(&self) -> bool {
        let state = self.state();
        !state.is_full() || !state.claims.seeks().is_empty()
    }

    pub(crate) fn push(&self, fetched: Fetched) -> bool {
        let mut state = self.state();
        // Asked also for what comes again: that it came is to be known.
        let is_read =
            state.ends.as_mut().is_none_or(|ends| ends.admits(fetched.partition, fetched.offset));
        if is_read && !state.claims.is_seeking(fetched.partition) {
            state.buffered_bytes += fetched.size_bytes();
            state.buffer.push_back(fetched);
        }
        let full = state.is_full();
        drop(state);
        self.arrived.notify_waiters();
        full
    }
}

fn fatal(reason: Arc<str>) -> TransportError {
    TransportError::Fatal { context: reason.to_string(), source: None }
}
