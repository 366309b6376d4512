//! How the process is: for probes, and for Prometheus.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use service::ModelControl;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::{Probes, Reads},
    readiness::REACHABLE,
    site::Site,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        at("/livez").get(Probes, live),
        at("/readyz").get(Probes, ready),
        at("/metrics").get(Reads, metrics),
    ]
}

/// `GET /livez`: the process answers and no part of its pipelines hangs, else 503 with what does.
async fn live(site: web::Data<Site>) -> HttpResponse {
    service::liveness(&site.setup.pulses)
}

/// Whether the model is warm, every configured broker and the database answer, and the pipelines get on;
/// and what there is of each.
pub(crate) async fn check(site: &Site) -> (bool, Map<String, Value>) {
    let mut checks = Map::new();
    let has_broker = site.setup.producers().next().is_some();
    let mut is_ready = !*site.stopping.borrow() && has_broker;
    if !has_broker {
        checks.insert("brokers".to_owned(), "none is configured".into());
    }
    let is_warm = site.setup.model.is_some();
    is_ready &= is_warm;
    let model = if is_warm { "warm" } else { "not loaded" };
    checks.insert("model".to_owned(), model.into());
    for (what, state) in site.readiness.recent().await {
        is_ready &= state == REACHABLE;
        checks.insert(what.to_owned(), state.into());
    }
    if !site.setup.pulses.is_empty() {
        let trouble = service::trouble(&site.setup.pulses);
        is_ready &= trouble.is_none();
        let state = trouble.unwrap_or_else(|| "running".to_owned());
        checks.insert("consumers".to_owned(), state.into());
    }
    (is_ready, checks)
}

/// `GET /readyz`: all of that, else 503 with the reasons.
async fn ready(site: web::Data<Site>) -> HttpResponse {
    let (is_ready, checks) = check(&site).await;
    let status = if is_ready { "ready" } else { "not ready" };
    let mut body = json!({ "status": status, "checks": checks });
    // The model before it goes on, and so nothing is red.
    if let Some(trouble) = site.setup.control.as_ref().and_then(ModelControl::trouble) {
        body["model"] = trouble.into();
    }
    if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// `GET /metrics`, for Prometheus; 404 where the program collects none.
async fn metrics(site: web::Data<Site>) -> Result<HttpResponse, ApiError> {
    let metrics = site.setup.metrics.as_ref();
    let metrics =
        metrics.ok_or_else(|| ApiError::Unknown("no metrics are collected".to_owned()))?;
    // A stall is counted when it is seen.
    for pulse in &site.setup.pulses {
        pulse.vitals();
    }
    Ok(metrics.response())
}
