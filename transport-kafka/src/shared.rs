//! The one lock of a transport, and whom its changes wake.
//!
//! What is received ([`Intake`]), the place in the group ([`Group`]) and what is being settled ([`Pending`])
//! are under one lock, because what must hold spans them: an outcome counts only while its partition is this
//! member's, and is counted before a revocation goes on. Who changes one of them for a purpose of its own
//! has the method for that in its own file. Nobody polls, or waits for librdkafka's threads, under the lock.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stream_inference::{Supervisor, transport::TransportError};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    claims::Claim,
    group::Group,
    intake::{Intake, ends::Ends},
    meters::Meters,
    settle::pending::Pending,
};

/// What the polling task, the transport, its tokens and who settles share.
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
    pub(crate) claims_ended: Notify,
    /// A settlement was confirmed.
    pub(crate) confirmed: Notify,
    /// A transaction ended, the group was joined, or the transport closes.
    pub(crate) moved: Condvar,
    /// Marks are wanted, or written.
    pub(crate) marked: Condvar,
}

/// What is under the lock.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) intake: Intake,
    pub(crate) group: Group,
    pub(crate) pending: Pending,
}

impl Shared {
    pub(crate) fn new(topic: &str, ends: Option<Ends>) -> Self {
        let topic = topic.into();
        let intake = Intake::until(ends);
        Self {
            meters: Meters::new(&topic),
            topic,
            supervisor: Supervisor::new(),
            state: Mutex::new(State { intake, ..State::default() }),
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

    /// Hands a message back that did not fail itself.
    pub(crate) fn pull_back(&self, claim: Claim) {
        self.state().intake.claims.pull_back(claim);
        self.handed_back();
    }

    /// Hands a message back that failed itself.
    pub(crate) fn retry(&self, claim: Claim) {
        self.state().intake.claims.retry(claim);
        self.handed_back();
    }

    /// Tells the polling task and who holds later messages that some may have been handed back.
    pub(crate) fn handed_back(&self) {
        self.work.notify_one();
        self.claims_ended.notify_waiters();
    }

    /// Tells the polling task that messages are done, where that may be the end.
    pub(crate) fn progressed(&self) {
        if self.state().intake.ends.is_some() {
            self.work.notify_one();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().group.is_closing
    }

    /// Blocks for so long, or until the transport closes; returns whether it does not.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let is_open = |state: &mut State| !state.group.is_closing;
        let waited = self.moved.wait_timeout_while(self.state(), pause, is_open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is_open(&mut state)
    }

    /// Makes whoever waits for the group or holds a message give up, and lets the parts end.
    pub(crate) fn close(&self) {
        self.supervisor.close();
        let mut state = self.state();
        state.group.is_closing = true;
        state.intake.rest();
        state.intake.marks.close();
        drop(state);
        self.moved.notify_all();
        self.marked.notify_all();
        self.claims_ended.notify_waiters();
    }

    /// Why the consumer can't go on, if that is so.
    pub(crate) fn failure(&self) -> Option<TransportError> {
        self.supervisor.failure().map(|reason| TransportError::fatal(&*reason, None))
    }

    /// Waits until the consumer can't go on.
    pub(crate) async fn failed(&self) -> TransportError {
        let dropped = || "the transport was dropped before the broker confirmed".into();
        TransportError::fatal(&*self.supervisor.ended().await.unwrap_or_else(dropped), None)
    }
}

/// Waits until `holds`, asked again at each change that `notify` tells of; false if `deadline` comes first.
pub(crate) async fn until(notify: &Notify, deadline: Instant, holds: impl Fn() -> bool) -> bool {
    loop {
        let mut changed = std::pin::pin!(notify.notified());
        changed.as_mut().enable();
        if holds() {
            return true;
        }
        if timeout_at(deadline, changed).await.is_err() {
            return false;
        }
    }
}
