//! `GET /metrics`: what this process counts and times, in Prometheus's text format.

use std::time::Duration;

use actix_web::HttpResponse;
use metrics::{describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use stream_inference::{Part, Supervisor, names};

use crate::StartError;

/// From the inference of one input to a broker that is almost away, in seconds.
const SECONDS: [f64; 19] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const INPUTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
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

    /// A recorder that measures for whoever installs it on a thread, with what it measured: for tests.
    pub fn on_a_thread() -> (PrometheusRecorder, Self) {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, describe);
        let metrics = Self(recorder.handle());
        (recorder, metrics)
    }

    /// The answer to `GET /metrics`.
    pub fn response(&self) -> HttpResponse {
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
    // What the inputs are called depends on the prefix.
    let builder = buckets(builder, Matcher::Suffix("_images".to_owned()), &INPUTS);
    buckets(builder, Matcher::Suffix("_inputs".to_owned()), &INPUTS).build_recorder()
}

fn describe() {
    let build_info = names::metric("build_info");
    describe_gauge!(build_info.clone(), "This program; always 1.");
    for name in STAGES {
        describe_histogram!(
            name,
            "KServe's name of a stage of inference, of batches and requests."
        );
    }
    gauge!(
        build_info,
        "version" => env!("CARGO_PKG_VERSION"),
        "target" => format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    )
    .set(1);
}

/// What KServe calls an inference's stages: reading the request, the model, writing the answer.
pub const STAGES: [&str; 3] =
    ["request_preprocess_seconds", "request_predict_seconds", "request_postprocess_seconds"];
