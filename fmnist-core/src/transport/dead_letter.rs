use super::{Attributes, Delivery, Outbound, Rejection};
use crate::weights::sha256;

/// The dead letter of `delivery`: key, payload and attributes untouched, and the reason added in
/// the headers of Kafka Connect (KIP-298), which most tools read.
///
/// The message's id is in `fmnist.id`, the delivery attempt, where known, in `fmnist.attempt`.
pub fn dead_letter<T>(delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
    Outbound {
        key: delivery.key.clone(),
        attributes: provenance(delivery, rejection, delivery.attributes.clone()),
        payload: delivery.payload.clone(),
    }
}

/// What goes instead of a dead letter that the broker refuses as too large: the same headers
/// without the original ones, the payload's SHA-256 and size, and no payload.
pub fn dead_letter_stub<T>(delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
    let mut attributes = provenance(delivery, rejection, Attributes::new());
    attributes.push("fmnist.payload.sha256", sha256(&delivery.payload));
    attributes.push("fmnist.payload.bytes", delivery.payload.len().to_string());
    Outbound { key: delivery.key.clone(), attributes, payload: bytes::Bytes::new() }
}

fn provenance<T>(
    delivery: &Delivery<T>,
    rejection: &Rejection,
    mut attributes: Attributes,
) -> Attributes {
    let source = &delivery.source;
    attributes.push("__connect.errors.topic", source.topic.to_string());
    if let Some(partition) = source.partition {
        attributes.push("__connect.errors.partition", partition.to_string());
    }
    if let Some(offset) = source.offset {
        attributes.push("__connect.errors.offset", offset.to_string());
    }
    attributes.push("__connect.errors.connector.name", "fmnist-stream");
    attributes.push("__connect.errors.stage", rejection.stage.as_str());
    attributes.push("__connect.errors.exception.message", rejection.reason.clone());
    attributes.push("fmnist.id", delivery.id.clone());
    if let Some(attempt) = delivery.attempt {
        attributes.push("fmnist.attempt", attempt.to_string());
    }
    attributes
}
