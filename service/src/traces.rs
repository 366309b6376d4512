//! Spans to an OpenTelemetry collector, behind the feature `otlp`.

use std::env;
#[cfg(feature = "otlp")]
use std::time::Duration;

/// Where the collector listens for OTLP over gRPC, such as `http://localhost:4317`.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[cfg(feature = "otlp")]
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What sends this process's spans, if anything does.
#[must_use = "spans that were not sent are lost without `stop`"]
pub struct Traces {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Traces {
    /// Sends spans where `OTEL_EXPORTER_OTLP_ENDPOINT` says, under the name `OTEL_SERVICE_NAME`, or
    /// else the program's; nowhere without the former. For programs, once, on their runtime.
    ///
    /// A collector that is away costs a warning and its spans, nothing else.
    pub fn from_env() -> Self {
        let endpoint = env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
        #[cfg(feature = "otlp")]
        return Self { provider: endpoint.and_then(|endpoint| export(&endpoint)) };
        #[cfg(not(feature = "otlp"))]
        {
            if endpoint.is_some() {
                tracing::warn!(
                    "{ENDPOINT} is set, but this program was built without the feature otlp: no spans"
                );
            }
            Self {}
        }
    }

    /// Sends what is left, within two seconds.
    pub async fn stop(self) {
        #[cfg(feature = "otlp")]
        if let Some(provider) = self.provider {
            let stop = move || provider.shutdown_with_timeout(STOP_TIMEOUT);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(stop).await {
                tracing::warn!(%error, "the last spans were not sent");
            }
        }
    }
}

/// Begins to send.
#[cfg(feature = "otlp")]
fn export(endpoint: &str) -> Option<opentelemetry_sdk::trace::SdkTracerProvider> {
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
    let exporter = exporter
        .inspect_err(|error| tracing::warn!(%error, "{ENDPOINT}: no spans are sent"))
        .ok()?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(stream_inference::names::program());
    }
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    Some(provider)
}
