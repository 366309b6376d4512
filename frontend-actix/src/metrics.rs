//! What `GET /metrics` says of HTTP requests.

use std::time::{Duration, Instant};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use service::STAGES;

pub(crate) fn describe() {
    describe_counter!("fmnist_http_requests_total", "HTTP requests, by route and class of status.");
    describe_histogram!("fmnist_http_request_seconds", "Time to the head of the answer, by route.");
}

/// Times an inference request's stages by KServe's names, which pipelines use for their batches.
pub(crate) fn inferred(model: String, stages: [Duration; STAGES.len()]) {
    for (name, took) in STAGES.into_iter().zip(stages) {
        histogram!(name, "model_name" => model.clone()).record(took);
    }
}

/// Counts and times a request by its route, never by its path: anybody can ask for any path.
pub(crate) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = Instant::now();
    let route = request.match_pattern().unwrap_or_else(|| "other".to_owned());
    let answered = next.call(request).await;
    let status = match &answered {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let class = format!("{}xx", status.as_u16() / 100);
    count(route, class, begun.elapsed());
    answered
}

pub(crate) fn count(route: String, class: String, took: Duration) {
    counter!("fmnist_http_requests_total", "route" => route.clone(), "status" => class)
        .increment(1);
    histogram!("fmnist_http_request_seconds", "route" => route).record(took);
}

/// A recorder for one test, on its own thread.
#[cfg(test)]
pub(crate) fn local() -> (metrics_exporter_prometheus::PrometheusRecorder, service::Metrics) {
    let (recorder, metrics) = service::Metrics::on_a_thread();
    metrics::with_local_recorder(&recorder, describe);
    (recorder, metrics)
}
