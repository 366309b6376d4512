//! What is bounded, so that with more callers than this process can serve some get a quick no, and
//! the others an answer as quick as ever: requests a second, classifications at once, bodies in
//! memory, open streams, and how long a body may take.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{dev::ServiceRequest, http::Method, web};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{ServerConfig, error::ApiError};

/// The limits of [`ServerConfig`], and how much of each is used.
pub(crate) struct Limits {
    requests: Rate,
    inferences: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    read_timeout: Duration,
}

impl Limits {
    pub(crate) fn new(settings: &ServerConfig) -> Self {
        Self {
            requests: Rate::new(settings.max_requests_per_second),
            inferences: Arc::new(Semaphore::new(settings.max_inferences())),
            body_bytes: Arc::new(Semaphore::new(settings.max_bodies_bytes)),
            streams: Arc::new(Semaphore::new(settings.max_streams)),
            read_timeout: Duration::from_millis(settings.read_timeout_ms),
        }
    }

    /// Counts a request that publishes, classifies or signs in, and refuses it if there were more
    /// in the last second than are allowed.
    pub(crate) fn admit(&self, request: &ServiceRequest, now: Instant) -> Result<(), ApiError> {
        let path = request.path();
        let is_counted = path.ends_with("/push-to-consumer")
            || (*request.method() == Method::POST
                && (["/classify", "/login"].contains(&path)
                    || path.ends_with("/images")
                    || path.ends_with("/infer")));
        match is_counted {
            true => self.requests.admit(now),
            false => Ok(()),
        }
    }

    /// What `work`, which decodes or classifies, gives on a blocking thread. Nobody waits for a place
    /// there: with a queue, every answer would be as late as the queue is long.
    pub(crate) async fn compute<O: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<O, ApiError> + Send + 'static,
    ) -> Result<O, ApiError> {
        let permit = Arc::clone(&self.inferences).try_acquire_owned();
        let permit =
            permit.map_err(|_| ApiError::Busy("as much is classified as this process can"))?;
        let work = move || {
            let _permit = permit;
            work()
        };
        web::block(work).await.map_err(|_| ApiError::Classification)?
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
        piece: &Bytes,
    ) -> Result<(), ApiError> {
        let busy = || ApiError::Busy("too many bodies are read at once");
        let bytes = u32::try_from(piece.len()).map_err(|_| busy())?;
        let more = Arc::clone(&self.body_bytes).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| busy())?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
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
