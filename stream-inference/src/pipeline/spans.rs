//! A span for each message that comes with a trace context, from its reception to its settlement.
//! Its context goes out with the answer, so that whoever reads that continues the trace.
//!
//! Names are those of OpenTelemetry's messaging conventions,
//! <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>.

use super::in_flight::{End, Message};
use crate::{codec::Codec, transport::TraceContext};

/// The open spans of messages that are settled together.
#[derive(Default)]
pub(super) struct Spans {
    #[cfg(feature = "traces")]
    open: Vec<opentelemetry::global::BoxedSpan>,
}

impl Spans {
    /// Begins a message's span at its reception, where a collector wants it; returns what goes out
    /// with its answer, `None` for a message that is in no trace.
    pub(super) fn begin<T, C: Codec>(
        &mut self,
        message: &Message<T>,
        end: &End<C>,
    ) -> Option<TraceContext> {
        let parent = TraceContext::read(&message.delivery.attributes)?;
        #[cfg(feature = "traces")]
        {
            let span = collected::begin(&parent, message, end);
            if let Some((span, context)) = span {
                self.open.push(span);
                return Some(context);
            }
        }
        #[cfg(not(feature = "traces"))]
        let _ = end;
        Some(parent.child())
    }

    /// Ends them: settled, or to come again.
    pub(super) fn end(self, is_settled: bool) {
        #[cfg(feature = "traces")]
        self.open.into_iter().for_each(|span| collected::end(span, is_settled));
        #[cfg(not(feature = "traces"))]
        let _ = is_settled;
    }
}

#[cfg(feature = "traces")]
mod collected {
    use std::time::SystemTime;

    use opentelemetry::{
        Context, KeyValue,
        global::{self, BoxedSpan},
        trace::{Span, SpanKind, Status, TraceContextExt, Tracer},
    };

    use crate::{
        codec::Codec,
        names,
        pipeline::in_flight::{End, Message},
        transport::TraceContext,
    };

    pub(super) fn begin<T, C: Codec>(
        parent: &TraceContext,
        message: &Message<T>,
        end: &End<C>,
    ) -> Option<(BoxedSpan, TraceContext)> {
        let Message { delivery, received, .. } = message;
        let tracer = global::tracer(names::program());
        let remote = Context::new().with_remote_span_context(parent.into());
        let source = &delivery.source;
        let is_pubsub = &*source.transport == "pubsub";
        let system = if is_pubsub { "gcp_pubsub" } else { &*source.transport }.to_owned();
        let began = SystemTime::now().checked_sub(received.elapsed());
        let mut span = tracer
            .span_builder(format!("process {}", source.topic))
            .with_kind(SpanKind::Consumer)
            .with_start_time(began.unwrap_or_else(SystemTime::now))
            .with_attributes([
                KeyValue::new("messaging.system", system),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", source.topic.to_string()),
                KeyValue::new("messaging.message.id", delivery.id.clone()),
                KeyValue::new("messaging.message.body.size", delivery.payload.len() as i64),
            ])
            .start_with_context(&tracer, &remote);
        // Not asked for: no collector, or not in its sample.
        if !span.is_recording() {
            return None;
        }
        if let Some(partition) = source.partition {
            let partition = partition.to_string();
            span.set_attribute(KeyValue::new("messaging.destination.partition.id", partition));
        }
        if let Some(offset) = source.offset {
            span.set_attribute(KeyValue::new("messaging.kafka.offset", offset));
        }
        match end {
            End::Answer(_, inputs) => {
                span.set_attribute(KeyValue::new(names::header(names::inputs()), *inputs as i64));
            }
            End::Reject(rejection) => failed(&mut span, rejection.stage.to_string()),
            End::Retry => failed(&mut span, "RETRY".to_owned()),
        }
        let context = parent.continued_by(span.span_context());
        Some((span, context))
    }

    pub(super) fn end(mut span: BoxedSpan, is_settled: bool) {
        if !is_settled {
            failed(&mut span, "NOT_SETTLED".to_owned());
        }
        span.end();
    }

    fn failed(span: &mut BoxedSpan, kind: String) {
        span.set_attribute(KeyValue::new("error.type", kind.clone()));
        span.set_status(Status::error(kind));
    }
}

#[cfg(all(test, feature = "traces"))]
mod tests {
    use opentelemetry::{Value, global, trace::Status};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    use crate::{
        pipeline::{
            Pipeline, PipelineConfig,
            tests::{raw, run_through},
        },
        toy::{Echo, Toy},
        transport::{Attributes, Outbound, TraceContext, memory::MemoryBroker},
    };

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn traced(parent: &'static str, message: Outbound) -> Outbound {
        let attributes: Attributes = [("traceparent", parent)].into_iter().collect();
        Outbound { attributes, ..message }
    }

    #[tokio::test]
    async fn a_sampled_message_has_a_span_that_its_answer_continues() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        global::set_tracer_provider(provider);

        let (broker, model) = (MemoryBroker::new("traced"), Echo::new());
        let good = broker.send(traced(SAMPLED, raw(1)));
        broker.send(traced(NOT_SAMPLED, raw(2)));
        broker.send(raw(3));
        let bad = broker.send(traced(SAMPLED, Outbound { payload: "{".into(), ..raw(4) }));
        let codec = Toy::default();
        let run = Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default());
        run_through(&broker, run).await.expect("drained");

        let spans = exporter.get_finished_spans().expect("collected");
        let mine = |id: &str| {
            let has_id = |span: &&opentelemetry_sdk::trace::SpanData| {
                let named = |name| span.attributes.iter().find(|a| a.key.as_str() == name);
                named("messaging.message.id").is_some_and(|a| a.value == Value::from(id.to_owned()))
            };
            spans.iter().find(has_id).expect("a span of this message")
        };
        let of_this_test = spans.iter().filter(|span| span.name == "process traced");
        assert_eq!(of_this_test.count(), 2, "{spans:?}");
        let span = mine(&good);
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(span.status, Status::Unset);
        assert!(span.start_time <= span.end_time);
        assert!(matches!(mine(&bad).status, Status::Error { .. }));

        let sent: Vec<_> =
            broker.results().iter().filter_map(|r| TraceContext::read(&r.attributes)).collect();
        let step =
            format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id());
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().any(|context| context.to_string() == step), "{step}: {sent:?}");
        let other = sent.iter().find(|context| context.to_string() != step).expect("unsampled");
        assert!(other.to_string().starts_with(&NOT_SAMPLED[..36]), "{other}");
        assert_ne!(other.to_string(), NOT_SAMPLED);
    }
}
