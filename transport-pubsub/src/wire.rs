//! Between this project's messages and Pub/Sub's: strings for bytes, and Pub/Sub's limits.

use std::collections::HashMap;

use bytes::Bytes;
use fmnist_core::transport::Attributes;
use google_cloud_pubsub::model::Message;

/// Pub/Sub's limits, from <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MAX_ATTRIBUTES: usize = 100;
const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;

/// W3C's names of the trace context, and those that Google's subscribers look for.
const TRACE: [(&str, &str); 2] =
    [("traceparent", "googclient_traceparent"), ("tracestate", "googclient_tracestate")];

/// A message as Pub/Sub takes it, without an ordering key.
///
/// Null values become empty, other bytes than UTF-8 are replaced by U+FFFD, values are cut to
/// 1,024 bytes, names of more than 256 bytes are left out, and so are the first attributes where
/// there are more than 100: what was added last says where the message came from. A trace context
/// goes under Google's names, too.
pub(crate) fn to_pubsub(attributes: &Attributes, payload: Bytes) -> Message {
    let mut kept = HashMap::new();
    let all: Vec<_> = attributes.iter().collect();
    for (name, value) in all.into_iter().rev() {
        if kept.len() == MAX_ATTRIBUTES {
            break;
        }
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || kept.contains_key(name) {
            continue;
        }
        let text = String::from_utf8_lossy(value.map_or(&[][..], |v| v));
        kept.insert(name.to_owned(), cut(&text, MAX_VALUE_BYTES).to_owned());
    }
    for (name, googles) in TRACE {
        if kept.len() < MAX_ATTRIBUTES
            && let Some(value) = kept.get(name).cloned()
        {
            kept.entry(googles.to_owned()).or_insert(value);
        }
    }
    Message::new().set_data(payload).set_attributes(kept)
}

/// Pub/Sub's attributes, sorted by name, because Pub/Sub keeps no order.
pub(crate) fn to_attributes(attributes: HashMap<String, String>) -> Attributes {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_unstable();
    sorted.into_iter().collect()
}

fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_sent() {
        let attributes: Attributes = [("b", "2"), ("a", "1")].into_iter().collect();
        let back = to_attributes(to_pubsub(&attributes, Bytes::new()).attributes);
        assert_eq!(back, [("a", "1"), ("b", "2")].into_iter().collect());
    }

    #[test]
    fn the_trace_context_has_googles_names_too_and_does_not_replace_what_was_there() {
        let attributes =
            [("traceparent", "new"), ("tracestate", "a=1"), ("googclient_traceparent", "old")];
        let message = to_pubsub(&attributes.into_iter().collect(), Bytes::new());
        let expected = attributes.into_iter().chain([("googclient_tracestate", "a=1")]);
        assert_eq!(message.attributes, expected.map(|(n, v)| (n.into(), v.into())).collect());
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let mut attributes = Attributes::new();
        attributes.push("reason", format!("{}é", "x".repeat(1023)));
        let message = to_pubsub(&attributes, Bytes::new());
        assert_eq!(message.attributes["reason"], "x".repeat(1023));
    }

    #[test]
    fn the_last_of_a_repeated_name_counts_and_null_is_empty() {
        let mut attributes: Attributes = [("a", "1"), ("a", "2")].into_iter().collect();
        attributes.push_null("b");
        attributes.push("c", &b"\xff"[..]);
        attributes.push("n".repeat(257), "too long a name");
        let expected = [("a", "2"), ("b", ""), ("c", "\u{fffd}")];
        let message = to_pubsub(&attributes, Bytes::new());
        assert_eq!(message.attributes, expected.map(|(n, v)| (n.into(), v.into())).into());
    }

    #[test]
    fn of_too_many_attributes_the_last_are_kept() {
        let attributes = (0..150).map(|n| (format!("n{n}"), n.to_string())).collect();
        let message = to_pubsub(&attributes, Bytes::new());
        assert_eq!(message.attributes.len(), 100);
        assert!(message.attributes.contains_key("n149") && !message.attributes.contains_key("n49"));
    }
}
