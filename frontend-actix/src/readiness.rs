//! Whether brokers and database can be reached, found out no more often than is good for them.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use fmnist_core::Part;
use futures_util::future::{OptionFuture, join_all};
use service::{Producer, Trouble};
use sink_sql::Database;
use tokio::sync::{Notify, watch};

/// The word for what answers.
pub(crate) const REACHABLE: &str = "reachable";

/// A probe may be as old, and none is made sooner: brokers and database are not there to be asked as
/// often as anybody likes.
const RECENT: Duration = Duration::from_secs(2);
/// Longer than any probe takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be reached, each with the word for it.
pub(crate) type Probed = Vec<(&'static str, &'static str)>;

/// What a task of its own last found out about brokers and database. It asks them while somebody asks
/// for that, one question at a time, however many callers there are and whether they wait or not.
pub(crate) struct Readiness {
    found: watch::Receiver<Option<(Instant, Probed)>>,
    asked: Arc<Notify>,
}

impl Readiness {
    pub(crate) fn new(brokers: Vec<Producer>, database: Option<Database>, part: Part) -> Self {
        let (finder, found) = watch::channel(None);
        let asked = Arc::new(Notify::new());
        let asks = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = finder.closed() => return part.done(),
                    () = asks.notified() => {}
                }
                let probed = probe(&brokers, database.as_ref()).await;
                finder.send_replace(Some((Instant::now(), probed)));
                tokio::time::sleep(RECENT).await;
            }
        });
        Self { found, asked }
    }

    /// What was found just now, or is found now.
    pub(crate) async fn recent(&self) -> Probed {
        self.asked.notify_one();
        let mut found = self.found.clone();
        let recent = found.wait_for(|found| {
            // The task rests between two probes, and then needs the time of one.
            found.as_ref().is_some_and(|(at, _)| at.elapsed() < 2 * RECENT)
        });
        match tokio::time::timeout(PATIENCE, recent).await {
            Ok(Ok(found)) => found.as_ref().map(|(_, probed)| probed.clone()).unwrap_or_default(),
            Ok(Err(_)) | Err(_) => vec![("probes", "not answered")],
        }
    }
}

async fn probe(brokers: &[Producer], database: Option<&Database>) -> Probed {
    let brokers = brokers.iter().map(|broker| async move {
        let name = broker.name();
        (name, reachability(name, broker.probe().await))
    });
    let database = database.map(|database| async move {
        ("database", reachability("database", database.probe().await))
    });
    let (mut probed, database) = tokio::join!(join_all(brokers), OptionFuture::from(database));
    probed.extend(database);
    probed
}

/// What `/readyz` says of `what` after its probe; why is in the log.
fn reachability(what: &str, probed: Result<(), impl Into<Trouble>>) -> &'static str {
    match probed {
        Ok(()) => REACHABLE,
        Err(error) => {
            tracing::debug!(what, error = &*error.into() as &dyn Error, "probe");
            "unreachable"
        }
    }
}
