//! The contract of the system before this one, byte for byte: what its producers sent, answered, printed
//! and led to, and the name of its model's file. Old programs count on it; nothing else here does.

use fmnist_core::transport::{Attributes, Outbound, Transport};
use serde::Serialize;
use serde_json::Value;
use service::stdout;
use transport_kafka::KafkaTransport;
use transport_pubsub::PubSubTransport;

use crate::parameters::Index;

/// The broker whose producers spoke in attributes; every other hears what Kafka's sent.
const IN_ATTRIBUTES: &str = PubSubTransport::NAME;

/// What a producer sent for a range.
pub(crate) fn range_message(broker: &str, start: &Index, end: &Index) -> Outbound {
    if broker != IN_ATTRIBUTES {
        let range = format!(r#"{{"start_idx": {}, "end_idx": {}}}"#, start.value, end.value);
        return Outbound { payload: range.into(), ..Outbound::default() };
    }
    let indices = [("start_idx", start.text.clone()), ("end_idx", end.text.clone())];
    Outbound {
        attributes: indices.into_iter().collect::<Attributes>(),
        payload: "pubsub - model inference".into(),
        ..Outbound::default()
    }
}

/// What a producer answered, members in the old order.
#[derive(Serialize)]
pub(crate) struct RangeAnswer {
    message_queue: &'static str,
    start_idx: Value,
    end_idx: Value,
}

impl RangeAnswer {
    pub(crate) fn new(broker: &'static str, start: Index, end: Index) -> Self {
        let index = |index: Index| match broker {
            IN_ATTRIBUTES => Value::from(index.text),
            _ => Value::from(index.value),
        };
        Self { message_queue: broker, start_idx: index(start), end_idx: index(end) }
    }
}

/// Prints what a producer printed.
pub(crate) fn print_sent(broker: &str, id: &str) {
    let printed = match broker {
        KafkaTransport::NAME => "Sent to consumer - local kafka\n".to_owned(),
        PubSubTransport::NAME => format!("{id}\nSent to consumer - cloud pub sub\n"),
        _ => return,
    };
    // Whoever reads them, or does not, the message is confirmed.
    stdout().print(printed);
}

/// Where the form led.
pub(crate) fn push_address(broker: &str, start: &Index, end: &Index) -> String {
    let (start, end) = (&start.text, &end.text);
    format!("/{broker}/push-to-consumer?start_idx={start}&end_idx={end}")
}

/// The model that a configuration means.
pub(crate) fn model_name(configured: &str) -> &str {
    if configured != "model.h5" {
        return configured;
    }
    tracing::warn!("model.h5 is the old Keras file; using the built-in `notebook`");
    "notebook"
}
