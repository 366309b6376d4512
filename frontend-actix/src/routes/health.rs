use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, web};
use fmnist_core::Part;
use futures_util::future::{OptionFuture, join_all};
use serde_json::{Map, json};
use sink_sql::Database;
use tokio::sync::{Notify, watch};

use crate::{Broker, error::ApiError, site::Site};

/// `GET /livez`: the process answers and no part of its pipelines hangs, else 503 with what does.
pub(crate) async fn live(site: web::Data<Site>) -> HttpResponse {
    service::liveness(&site.frontend.pulses)
}

/// `GET /readyz`: the model is warm, every configured broker and the database answer, and the
/// pipelines get on, else 503 with the reasons.
pub(crate) async fn ready(site: web::Data<Site>) -> HttpResponse {
    let mut checks = Map::new();
    let mut is_ready = !*site.stopping.borrow() && !site.frontend.brokers.is_empty();
    if site.frontend.brokers.is_empty() {
        checks.insert("brokers".to_owned(), "none is configured".into());
    }
    let model = match site.model() {
        Some(_) => "warm",
        None => "not loaded",
    };
    is_ready &= model == "warm";
    checks.insert("model".to_owned(), model.into());
    for (what, state) in site.readiness.recent().await {
        is_ready &= state == REACHABLE;
        checks.insert(what.to_owned(), state.into());
    }
    if !site.frontend.pulses.is_empty() {
        let trouble = service::trouble(&site.frontend.pulses);
        is_ready &= trouble.is_none();
        let state = trouble.unwrap_or_else(|| "running".to_owned());
        checks.insert("consumers".to_owned(), state.into());
    }
    let status = if is_ready { "ready" } else { "not ready" };
    let body = json!({ "status": status, "checks": checks });
    if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

const REACHABLE: &str = "reachable";

/// A probe may be as old, and none is made sooner: brokers and database are not there to be asked as
/// often as anybody likes.
const RECENT: Duration = Duration::from_secs(2);
/// Longer than any probe takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be reached, each with the word for it.
type Probed = Vec<(&'static str, &'static str)>;

/// What a task of its own last found out about brokers and database. It asks them while somebody asks
/// for that, one question at a time, however many callers there are and whether they wait or not.
pub(crate) struct Readiness {
    found: watch::Receiver<Option<(Instant, Probed)>>,
    asked: Arc<Notify>,
}

impl Readiness {
    pub(crate) fn new(brokers: Vec<Broker>, database: Option<Database>, part: Part) -> Self {
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
    async fn recent(&self) -> Probed {
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

async fn probe(brokers: &[Broker], database: Option<&Database>) -> Probed {
    let brokers = brokers.iter().map(|broker| async move {
        let name = broker.kind().name();
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
fn reachability(what: &str, probed: Result<(), impl Error + 'static>) -> &'static str {
    match probed {
        Ok(()) => REACHABLE,
        Err(error) => {
            tracing::debug!(what, error = &error as &dyn Error, "probe");
            "unreachable"
        }
    }
}

/// `GET /metrics`, for Prometheus; 404 where the program collects none.
pub(crate) async fn metrics(site: web::Data<Site>) -> Result<HttpResponse, ApiError> {
    let metrics = site.frontend.metrics.as_ref();
    let metrics =
        metrics.ok_or_else(|| ApiError::Unknown("no metrics are collected".to_owned()))?;
    // A stall is counted when it is seen.
    for pulse in &site.frontend.pulses {
        pulse.vitals();
    }
    Ok(metrics.response())
}
