//! What orchestrators hear of pipelines.

use actix_web::HttpResponse;
use serde_json::{Value, json};
use stream_inference::pipeline::{Pulse, Vitals};

/// What `/livez` says of these pipelines.
pub fn liveness(pulses: &[Pulse]) -> HttpResponse {
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
    let is_alive = vitals.iter().all(Vitals::is_alive);
    let mut answer = if is_alive { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(body)
}

/// Why these pipelines do not get on, in words; `None` where all do.
pub fn trouble(pulses: &[Pulse]) -> Option<String> {
    let reasons: Vec<String> = pulses.iter().filter_map(|pulse| pulse.vitals().reason).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
