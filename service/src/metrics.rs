//! `GET /metrics`: what this process counts and times, in Prometheus's text format.

use std::time::{Duration, Instant};

use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use fmnist_core::{Part, Supervisor};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::StartError;

/// From the inference of one image to a broker that is almost away, in seconds.
const SECONDS: [f64; 19] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const IMAGES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Histograms keep every value until they are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's metrics. Clones are the same.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes this the recorder of everything that is measured in this process from now on, and
    /// sums it up on the present runtime, in a task that is one of the program's `parts`.
    ///
    /// # Errors
    /// [`StartError::Recorder`] if there is one already.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn install(parts: &Supervisor) -> Result<Self, StartError> {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| StartError::Recorder)?;
        describe();
        tokio::spawn(sum_up(handle.clone(), parts.part("task that sums up metrics")));
        Ok(Self(handle))
    }

    /// All of them, in Prometheus's text format.
    pub fn text(&self) -> String {
        self.0.render()
    }

    pub(crate) fn response(&self) -> HttpResponse {
        HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(self.text())
    }
}

pub(crate) async fn sum_up(metrics: PrometheusHandle, _part: Part) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

fn recorder() -> PrometheusRecorder {
    let buckets = |builder: PrometheusBuilder, matcher, values| {
        builder.set_buckets_for_metric(matcher, values).expect("there are buckets")
    };
    let builder = PrometheusBuilder::new();
    let builder = buckets(builder, Matcher::Suffix("_seconds".to_owned()), &SECONDS);
    buckets(builder, Matcher::Suffix("_images".to_owned()), &IMAGES).build_recorder()
}

fn describe() {
    describe_gauge!("fmnist_build_info", "This program; always 1.");
    describe_counter!("fmnist_http_requests_total", "HTTP requests, by route and class of status.");
    describe_histogram!("fmnist_http_request_seconds", "Time to the head of the answer, by route.");
    for name in STAGES {
        describe_histogram!(
            name,
            "KServe's name of a stage of inference, of batches and requests."
        );
    }
    gauge!(
        "fmnist_build_info",
        "version" => env!("CARGO_PKG_VERSION"),
        "target" => format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    )
    .set(1);
}

/// What KServe calls an inference's stages: reading the request, the model, writing the answer.
const STAGES: [&str; 3] =
    ["request_preprocess_seconds", "request_predict_seconds", "request_postprocess_seconds"];

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
    counter!("fmnist_http_requests_total", "route" => route.clone(), "status" => class)
        .increment(1);
    histogram!("fmnist_http_request_seconds", "route" => route).record(begun.elapsed());
    answered
}

/// A recorder for one test, on its own thread.
#[cfg(test)]
pub(crate) fn local() -> (PrometheusRecorder, Metrics) {
    let recorder = recorder();
    metrics::with_local_recorder(&recorder, describe);
    let metrics = Metrics(recorder.handle());
    (recorder, metrics)
}
