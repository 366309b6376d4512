//! What goes on beside the loop, supervised: transports, sinks and programs give each task or thread a
//! [`Part`]. A part that ends before the close has failed the whole, whatever it ended of.

use std::{borrow::Cow, sync::Arc};

use tokio::sync::watch;

/// Notices when a task or a thread ends that was to go on: who waits for its work would wait for
/// ever, in a process that looks well.
///
/// Clones are the same supervisor.
///
/// ```
/// use stream_inference::Supervisor;
///
/// let supervisor = Supervisor::new();
/// let part = supervisor.part("polling task");
/// let thread = std::thread::spawn(move || drop(part));
/// thread.join().expect("no panic");
/// assert_eq!(supervisor.failure().as_deref(), Some("the polling task ended early"));
/// ```
#[derive(Clone, Debug)]
pub struct Supervisor(watch::Sender<State>);

#[derive(Clone, Debug)]
enum State {
    Running,
    Failed(Arc<str>),
    Closed,
}

impl Supervisor {
    /// One without parts.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::Running))
    }

    /// A guard for the part of that name, to be moved into its task or thread: dropped there,
    /// because it returned, panicked or was aborted, the whole has failed.
    #[must_use = "a part that is dropped has ended"]
    pub fn part(&self, name: impl Into<Cow<'static, str>>) -> Part {
        Part { supervisor: self.clone(), name: Some(name.into()) }
    }

    /// Records why the whole can't go on; the first reason stays.
    pub fn fail(&self, reason: impl Into<Arc<str>>) {
        self.end(State::Failed(reason.into()));
    }

    /// From now on parts may end.
    pub fn close(&self) {
        self.end(State::Closed);
    }

    /// Why the whole can't go on, if that is so.
    pub fn failure(&self) -> Option<Arc<str>> {
        match &*self.0.borrow() {
            State::Failed(reason) => Some(Arc::clone(reason)),
            State::Running | State::Closed => None,
        }
    }

    /// Waits until the whole can't go on, and says why; `None` once it was closed. Cancel safe.
    pub async fn ended(&self) -> Option<Arc<str>> {
        let mut state = self.0.subscribe();
        // The sender is here, so the channel is open.
        let _ = state.wait_for(|state| !matches!(state, State::Running)).await;
        self.failure()
    }

    fn end(&self, end: State) {
        self.0.send_if_modified(|state| {
            let is_running = matches!(state, State::Running);
            if is_running {
                *state = end;
            }
            is_running
        });
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

/// See [`Supervisor::part`].
#[derive(Debug)]
pub struct Part {
    supervisor: Supervisor,
    /// None once it is done.
    name: Option<Cow<'static, str>>,
}

impl Part {
    /// The part did what it was to do.
    pub fn done(mut self) {
        self.name = None;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.supervisor.fail(format!("the {name} ended early"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_or_returns_is_named_and_the_first_stays() {
        let supervisor = Supervisor::new();
        let (first, second) = (supervisor.part("poll"), supervisor.part("courier"));
        let panicked = tokio::spawn(async move {
            let _first = first;
            panic!("on purpose");
        });
        assert_eq!(supervisor.ended().await.as_deref(), Some("the poll ended early"));
        assert!(panicked.await.is_err());
        drop(second);
        supervisor.close();
        assert_eq!(supervisor.failure().as_deref(), Some("the poll ended early"));
    }

    #[tokio::test]
    async fn what_ends_after_the_close_or_is_done_is_no_failure() {
        let supervisor = Supervisor::new();
        let (done, open) = (supervisor.part("confirmation"), supervisor.part("courier"));
        done.done();
        assert_eq!(supervisor.failure(), None);
        supervisor.close();
        drop(open);
        assert_eq!(supervisor.ended().await, None);
    }
}
