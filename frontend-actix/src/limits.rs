//! What is bounded, so that with more callers than this process can serve some get a quick no, and
//! the others an answer almost as quick as ever: requests a second, pictures that are read at once,
//! requests that wait, bodies and answers in memory, open streams, and how long a body may take.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::web;
use fmnist_core::{ClassifyError, Image, Infer, Prediction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::ServerConfig, error::ApiError, line::Line};

/// The limits of [`ServerConfig`], and how much of each is used.
pub(crate) struct Limits {
    requests: Rate,
    /// Those that are read and those that wait.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    line: Line,
    longest_wait: Duration,
    body_bytes: Arc<Semaphore>,
    answer_bytes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    read_timeout: Duration,
}

/// A request's right to be worked on, or to wait for that; until it is dropped.
pub(crate) struct Place<'l> {
    limits: &'l Limits,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Limits {
    /// No request waits longer for its turn than `latency_budget`, where there is one.
    pub(crate) fn new(settings: &ServerConfig, latency_budget: Option<Duration>) -> Self {
        let turns = settings.max_inferences();
        let longest_wait = Duration::from_millis(settings.max_wait_ms);
        Self {
            requests: Rate::new(settings.max_requests_per_second),
            places: Arc::new(Semaphore::new(turns + settings.max_waiting)),
            turns: Arc::new(Semaphore::new(turns)),
            line: Line::default(),
            longest_wait: latency_budget.map_or(longest_wait, |budget| budget.min(longest_wait)),
            body_bytes: Arc::new(Semaphore::new(settings.max_bodies_bytes)),
            answer_bytes: Arc::new(Semaphore::new(settings.max_bodies_bytes)),
            streams: Arc::new(Semaphore::new(settings.max_streams)),
            read_timeout: Duration::from_millis(settings.read_timeout_ms),
        }
    }

    /// Counts a request, and refuses it if there were more in the last second than are allowed.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), ApiError> {
        self.requests.admit(now)
    }

    /// A place among those that are worked on or wait; a line that is full says so at once.
    pub(crate) fn place(&self) -> Result<Place<'_>, ApiError> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| ApiError::Busy(BUSY))?;
        Ok(Place { limits: self, permit: Arc::new(permit) })
    }

    /// The right to an open stream, until it is dropped.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| ApiError::Busy("as many pages are open as this process serves"))
    }

    /// Room in memory for a piece of a body, beside what `room` holds for the pieces before.
    pub(crate) fn reserve(
        &self,
        room: &mut Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Result<(), ApiError> {
        let busy = || ApiError::Busy("too many bodies are read at once");
        let more = take(&self.body_bytes, bytes).ok_or_else(busy)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }

    /// Room in memory for an answer, until its reader has it.
    pub(crate) fn answer(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let busy = || ApiError::Busy("too many answers wait for their readers");
        take(&self.answer_bytes, bytes).ok_or_else(busy)
    }

    /// What `reading` gives, if the client sends its body in time.
    pub(crate) async fn in_time<O>(
        &self,
        reading: impl Future<Output = Result<O, ApiError>>,
    ) -> Result<O, ApiError> {
        let read = tokio::time::timeout(self.read_timeout, reading).await;
        read.unwrap_or(Err(ApiError::TooSlow { timeout: self.read_timeout }))
    }
}

const MODEL_AWAY: &str = "the model can't answer now";
const BUSY: &str = "as many requests wait as this process can answer in time";

fn take(bytes: &Arc<Semaphore>, count: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(bytes).try_acquire_many_owned(u32::try_from(count).ok()?).ok()
}

impl Place<'_> {
    /// What `work`, which reads pictures, gives on a blocking thread, once it is this request's turn.
    /// More at once than there are cores would only be later, each of them.
    pub(crate) async fn read<O: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<O, ApiError> + Send + 'static,
    ) -> Result<O, ApiError> {
        let turn = Arc::clone(&self.limits.turns).acquire_owned();
        let turn = tokio::time::timeout(self.limits.longest_wait, turn).await;
        let Ok(Ok(turn)) = turn else { return Err(ApiError::Busy(BUSY)) };
        self.block(turn, work).await
    }

    /// What `answer` makes of what `model` sees in these images. It takes no turn: those who wait for
    /// the model share its next batch ([`fmnist_core::Batcher`]).
    pub(crate) async fn infer<O: Send + 'static>(
        &self,
        model: &Arc<dyn Infer>,
        images: Vec<Image>,
        answer: impl FnOnce(&dyn Infer, &[Prediction]) -> O + Send + 'static,
    ) -> Result<O, ApiError> {
        let share = self.limits.line.enter(images.len(), self.limits.longest_wait);
        let share = share.ok_or(ApiError::Busy(BUSY))?;
        let model = Arc::clone(model);
        let infer = move || {
            let inferred = model.infer(&images);
            drop(share);
            let predictions = inferred.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "classification failed");
                match error {
                    ClassifyError::Unavailable { .. } => ApiError::Busy(MODEL_AWAY),
                    _ => ApiError::Classification,
                }
            })?;
            Ok::<_, ApiError>(answer(&*model, &predictions))
        };
        self.block((), infer).await
    }

    /// Who hung up goes on to count until its thread is free.
    async fn block<O: Send + 'static>(
        &self,
        turn: impl Send + 'static,
        work: impl FnOnce() -> Result<O, ApiError> + Send + 'static,
    ) -> Result<O, ApiError> {
        let place = Arc::clone(&self.permit);
        let work = move || {
            let _held = (turn, place);
            work()
        };
        web::block(work).await.map_err(|_| ApiError::Classification)?
    }
}

/// So many events a second, and as many at once.
///
/// The generic cell rate algorithm (ITU-T I.371, appendix A): an event is due one interval after the
/// last, and may come a second early.
struct Rate {
    per_second: u32,
    /// When the next event would be due if all came evenly; `None` before the first.
    due: Mutex<Option<Instant>>,
}

impl Rate {
    const fn new(per_second: u32) -> Self {
        Self { per_second, due: Mutex::new(None) }
    }

    fn admit(&self, now: Instant) -> Result<(), ApiError> {
        const BURST: Duration = Duration::from_secs(1);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = BURST / self.per_second.max(1);
        let next = due.map_or(now, |due| due.max(now)) + interval;
        if next > now + BURST {
            return Err(ApiError::TooMany { per_second: self.per_second });
        }
        *due = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_waits_for_its_turn_no_longer_than_it_may() {
        let settings = ServerConfig {
            max_inferences: Some(1.try_into().expect("not 0")),
            max_wait_ms: 60_000,
            ..ServerConfig::default()
        };
        let limits = Arc::new(Limits::new(&settings, Some(Duration::from_millis(1))));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::sync_channel::<()>(1);
        let first = Arc::clone(&limits);
        let first = tokio::spawn(async move {
            let work = move || {
                begun.send(()).expect("the test listens");
                ends.recv().expect("the test ends it");
                Ok(1)
            };
            first.place().expect("a place").read(work).await
        });
        begins.await.expect("it begins");
        let second = limits.place().expect("a place").read(|| Ok(2)).await;
        let busy = second.expect_err("it is the first one's turn").to_string();
        assert!(busy.starts_with("as many requests wait"), "{busy}");
        end.send(()).expect("it waits");
        assert_eq!(first.await.expect("no panic").ok(), Some(1));
        assert_eq!(limits.place().expect("a place").read(|| Ok(3)).await.ok(), Some(3));
    }

    #[test]
    fn a_rate_allows_a_second_of_events_at_once_and_then_one_an_interval() {
        let (rate, start) = (Rate::new(4), Instant::now());
        let admitted = |after_ms| rate.admit(start + Duration::from_millis(after_ms)).is_ok();
        assert_eq!([0, 0, 0, 0, 0].map(admitted), [true, true, true, true, false]);
        assert_eq!([249, 250, 250].map(admitted), [false, true, false]);
        assert_eq!([600, 750, 750, 751].map(admitted), [true, true, false, false]);
        assert_eq!([9_000; 5].map(admitted), [true, true, true, true, false]);
    }
}
