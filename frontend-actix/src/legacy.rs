//! The contract of the system before this one, byte for byte: what its producers sent, answered, printed
//! and led to, and the name of its model's file. Old programs count on it; nothing else here does.

use fmnist_core::transport::{Attributes, Outbound};
use serde::Serialize;
use serde_json::Value;
use service::stdout;

use crate::{broker::BrokerKind, parameters::Index};

/// What a producer sent for a range.
pub(crate) fn range_message(broker: BrokerKind, start: &Index, end: &Index) -> Outbound {
    match broker {
        BrokerKind::Kafka => Outbound {
            payload: format!(r#"{{"start_idx": {}, "end_idx": {}}}"#, start.value, end.value)
                .into(),
            ..Outbound::default()
        },
        BrokerKind::PubSub => Outbound {
            attributes: [("start_idx", start.text.clone()), ("end_idx", end.text.clone())]
                .into_iter()
                .collect::<Attributes>(),
            payload: "pubsub - model inference".into(),
            ..Outbound::default()
        },
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
    pub(crate) fn new(broker: BrokerKind, start: Index, end: Index) -> Self {
        let index = |index: Index| match broker {
            BrokerKind::Kafka => Value::from(index.value),
            BrokerKind::PubSub => Value::from(index.text),
        };
        Self { message_queue: broker.name(), start_idx: index(start), end_idx: index(end) }
    }
}

/// Prints what a producer printed.
pub(crate) fn print_sent(broker: BrokerKind, id: &str) {
    // Whoever reads them, or does not, the message is confirmed.
    stdout().print(match broker {
        BrokerKind::Kafka => "Sent to consumer - local kafka\n".to_owned(),
        BrokerKind::PubSub => format!("{id}\nSent to consumer - cloud pub sub\n"),
    });
}

/// Where the form led.
pub(crate) fn push_address(broker: BrokerKind, start: &Index, end: &Index) -> String {
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
