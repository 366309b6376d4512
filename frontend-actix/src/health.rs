use std::error::Error;

use actix_web::{HttpResponse, web};
use fmnist_core::pipeline::{Pulse, Vitals};
use serde_json::{Map, Value, json};

use crate::{error::ApiError, site::Site};

/// `GET /livez`: the process answers and no part of its pipelines hangs, else 503 with what does.
pub(crate) async fn live(site: web::Data<Site>) -> HttpResponse {
    liveness(&site.frontend.pulses)
}

/// What `/livez` says of these pipelines.
pub(crate) fn liveness(pulses: &[Pulse]) -> HttpResponse {
    if pulses.is_empty() {
        return HttpResponse::Ok().json(json!({ "status": "live" }));
    }
    let vitals: Vec<Vitals> = pulses.iter().map(Pulse::vitals).collect();
    let pipeline = |vitals: &Vitals| {
        json!({
            "in_flight": vitals.in_flight,
            "full": vitals.is_full,
            "stalled": vitals.is_stalled,
            "stalls": vitals.stalls,
            "cut_off": vitals.is_cut_off,
            "hangs": vitals.hangs,
            "reason": vitals.reason,
        })
    };
    let pipelines: Vec<Value> = vitals.iter().map(pipeline).collect();
    let status = match () {
        () if vitals.iter().any(|vitals| vitals.hangs.is_some()) => "hangs",
        () if vitals.iter().any(|vitals| vitals.is_cut_off) => "cut off",
        () => "live",
    };
    let body = json!({ "status": status, "pipelines": pipelines });
    match vitals.iter().all(Vitals::is_alive) {
        true => HttpResponse::Ok().json(body),
        false => HttpResponse::ServiceUnavailable().json(body),
    }
}

/// Why these pipelines do not get on, in words; `None` where all do.
pub(crate) fn trouble(pulses: &[Pulse]) -> Option<String> {
    let reasons: Vec<String> = pulses.iter().filter_map(|pulse| pulse.vitals().reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
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
    let probes = site
        .frontend
        .brokers
        .iter()
        .map(|broker| async move { (broker.kind(), broker.probe().await) });
    for (kind, probed) in futures_util::future::join_all(probes).await {
        let state = reachability(kind.name(), probed);
        is_ready &= state == REACHABLE;
        checks.insert(kind.name().to_owned(), state.into());
    }
    if let Some(database) = &site.frontend.database {
        let state = reachability("database", database.probe().await);
        is_ready &= state == REACHABLE;
        checks.insert("database".to_owned(), state.into());
    }
    if !site.frontend.pulses.is_empty() {
        let trouble = trouble(&site.frontend.pulses);
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
