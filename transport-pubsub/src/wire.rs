//! Between this project's messages and Pub/Sub's: strings for bytes, and Pub/Sub's limits.

use std::collections::HashMap;

use google_cloud_pubsub::model::Message;
use stream_inference::{
    names, sha256,
    transport::{Attributes, Outbound},
};

/// Pub/Sub's limits, from <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MAX_ATTRIBUTES: usize = 100;
const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_KEY_BYTES: usize = 1024;
/// Ten million bytes are promised, and some more are taken: between the two the server decides.
pub(crate) const MAX_MESSAGE_BYTES: usize = 10 << 20;

/// W3C's names of the trace context, and those that Google's subscribers look for.
const TRACE: [(&str, &str); 2] =
    [("traceparent", "googclient_traceparent"), ("tracestate", "googclient_tracestate")];

/// What a message takes, in bytes: key, attributes and data.
pub(crate) fn size_bytes(message: &Message) -> usize {
    let attributes = message.attributes.iter().map(|(name, value)| name.len() + value.len());
    message.ordering_key.len() + message.data.len() + attributes.sum::<usize>()
}

/// The message as it is, or why Pub/Sub can't carry it.
///
/// Null values become empty, and a trace context that is too long is left out. The context goes under
/// Google's names, too.
pub(crate) fn exact(outbound: Outbound) -> Result<Message, String> {
    let Outbound { key, attributes, payload, .. } = outbound;
    let key = String::from_utf8(key.unwrap_or_default().into())
        .map_err(|_| "an ordering key must be UTF-8".to_owned())?;
    if key.len() > MAX_KEY_BYTES {
        let found = key.len();
        return Err(format!("an ordering key has at most {MAX_KEY_BYTES} bytes, found {found}"));
    }
    let mut kept = HashMap::with_capacity(attributes.len());
    for (name, value) in attributes.iter() {
        let text = std::str::from_utf8(value.map_or(&[][..], |value| value))
            .map_err(|_| format!("attribute {name:?} must be UTF-8"))?;
        if is_trace(name) && text.len() > MAX_VALUE_BYTES {
            continue;
        }
        if !is_name(name) {
            return Err(format!(
                "the name of an attribute has 1 to {MAX_NAME_BYTES} bytes and does not begin with \
                 goog, found {name:?}"
            ));
        }
        if text.len() > MAX_VALUE_BYTES {
            let found = text.len();
            return Err(format!(
                "attribute {name:?} has at most {MAX_VALUE_BYTES} bytes, found {found}"
            ));
        }
        if kept.insert(name.to_owned(), text.to_owned()).is_some() {
            return Err(format!("attribute {name:?} comes twice"));
        }
    }
    if kept.len() > MAX_ATTRIBUTES {
        return Err(format!("at most {MAX_ATTRIBUTES} attributes, found {}", kept.len()));
    }
    name_trace(&mut kept);
    let message = Message::new().set_data(payload).set_attributes(kept).set_ordering_key(key);
    match size_bytes(&message) {
        found if found > MAX_MESSAGE_BYTES => {
            Err(format!("at most {MAX_MESSAGE_BYTES} bytes, found {found}"))
        }
        _ => Ok(message),
    }
}

/// A dead letter of a message that came with `original` attributes.
///
/// Whatever attributes do not fit are cut or left out, the first where there are too many: what was
/// added last says where the message came from. Then the letter has the originals' SHA-256 and size, as
/// it has those of a key that does not fit.
pub(crate) fn letter(outbound: Outbound, original: &Attributes) -> Message {
    let Outbound { key, mut attributes, payload, .. } = outbound;
    let key = key.unwrap_or_default();
    let kept_key = std::str::from_utf8(&key).ok().filter(|key| key.len() <= MAX_KEY_BYTES);
    if kept_key.is_none() {
        push_digest(&mut attributes, "key", &key);
    }
    let (mut kept, is_whole) = fit(&attributes);
    if !is_whole {
        push_digest(&mut attributes, "attributes", &flat(original));
        (kept, _) = fit(&attributes);
    }
    name_trace(&mut kept);
    let key = kept_key.unwrap_or_default();
    Message::new().set_data(payload).set_attributes(kept).set_ordering_key(key)
}

fn push_digest(attributes: &mut Attributes, part: &str, bytes: &[u8]) {
    attributes.push(names::header(&format!("{part}.sha256")), sha256(bytes));
    attributes.push(names::header(&format!("{part}.bytes")), bytes.len().to_string());
}

/// The last of the attributes, as many as fit, and whether that is all of them unchanged.
fn fit(attributes: &Attributes) -> (HashMap<String, String>, bool) {
    let (mut kept, mut is_whole) = (HashMap::new(), true);
    let all: Vec<_> = attributes.iter().collect();
    for (name, value) in all.into_iter().rev() {
        if kept.contains_key(name) {
            // A letter is a step of its message's trace, and goes on from there when it is sent again.
            is_whole &= is_trace(name);
            continue;
        }
        if kept.len() == MAX_ATTRIBUTES || !is_name(name) {
            is_whole = false;
            continue;
        }
        let value = value.map_or(&[][..], |value| value);
        let text = String::from_utf8_lossy(value);
        let text = &text[..text.floor_char_boundary(MAX_VALUE_BYTES)];
        is_whole &= text.as_bytes() == value;
        kept.insert(name.to_owned(), text.to_owned());
    }
    (kept, is_whole)
}

/// Names and values, each with a zero byte behind it.
fn flat(attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(attributes.size_bytes() + 2 * attributes.len());
    for (name, value) in attributes.iter() {
        for part in [name.as_bytes(), value.map_or(&[][..], |value| value)] {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
    }
    bytes
}

/// Puts the trace context under Google's names, too, where there is room.
fn name_trace(kept: &mut HashMap<String, String>) {
    for (name, googles) in TRACE {
        if kept.len() < MAX_ATTRIBUTES
            && let Some(value) = kept.get(name).cloned()
        {
            kept.entry(googles.to_owned()).or_insert(value);
        }
    }
}

fn is_trace(name: &str) -> bool {
    TRACE.iter().any(|(w3c, googles)| [*w3c, *googles].contains(&name))
}

/// Names that begin with `goog` are Google's, but its own clients write some.
fn is_name(name: &str) -> bool {
    let is_reserved = name.starts_with("goog") && !name.starts_with("googclient_");
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !is_reserved
}

/// Pub/Sub's attributes, sorted by name, because Pub/Sub keeps no order.
pub(crate) fn to_attributes(attributes: HashMap<String, String>) -> Attributes {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_unstable();
    sorted.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(attributes: Attributes) -> Outbound {
        Outbound { attributes, ..Outbound::default() }
    }

    /// The letter of a message whose attributes are all that the letter has.
    fn letter_of(attributes: Attributes) -> HashMap<String, String> {
        letter(with(attributes.clone()), &attributes).attributes
    }

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn attributes_come_back_as_they_were_sent() {
        let attributes: Attributes = [("b", "2"), ("a", "1")].into_iter().collect();
        let message = exact(with(attributes)).expect("it fits");
        let back = to_attributes(message.attributes);
        assert_eq!(back, [("a", "1"), ("b", "2")].into_iter().collect());
    }

    #[test]
    fn the_trace_context_has_googles_names_too_and_does_not_replace_what_was_there() {
        let attributes =
            [("traceparent", "new"), ("tracestate", "a=1"), ("googclient_traceparent", "old")];
        let message = exact(with(attributes.into_iter().collect())).expect("it fits");
        let expected = attributes.into_iter().chain([("googclient_tracestate", "a=1")]);
        let expected: HashMap<String, String> =
            expected.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(message.attributes, expected);
        assert_eq!(letter_of(attributes.into_iter().collect()), expected);
    }

    #[test]
    fn what_pubsub_cannot_carry_is_refused_with_the_reason() {
        let one = |name: &str, value: &[u8]| {
            let mut attributes = Attributes::new();
            attributes.push(name, value.to_vec());
            with(attributes)
        };
        let many: Attributes = (0..101).map(|n| (format!("n{n}"), "v")).collect();
        let twice: Attributes = [("a", "1"), ("a", "2")].into_iter().collect();
        let key = |key: &[u8]| Outbound { key: Some(key.to_vec().into()), ..Outbound::default() };
        let large = vec![0; MAX_MESSAGE_BYTES];
        let large = Outbound { payload: large.into(), ..one("name", b"v") };
        for (outbound, reason) in [
            (one("", b"v"), "the name of an attribute has 1 to 256 bytes"),
            (one(&"n".repeat(257), b"v"), "the name of an attribute has 1 to 256 bytes"),
            (one("goog-x", b"v"), "does not begin with goog"),
            (one("name", b"\xff"), "attribute \"name\" must be UTF-8"),
            (one("name", &[b'v'; 1025]), "at most 1024 bytes, found 1025"),
            (with(many), "at most 100 attributes, found 101"),
            (with(twice), "attribute \"a\" comes twice"),
            (key(b"\xff"), "an ordering key must be UTF-8"),
            (key(&[b'k'; 1025]), "an ordering key has at most 1024 bytes, found 1025"),
            (large, "at most 10485760 bytes, found 10485765"),
        ] {
            let found = exact(outbound).expect_err(reason);
            assert!(found.contains(reason), "{found}");
        }
        let largest =
            Outbound { key: Some(vec![b'k'; 1024].into()), ..one(&"n".repeat(256), &[b'v'; 1024]) };
        assert_eq!(size_bytes(&exact(largest).expect("it fits")), 1024 + 256 + 1024);
        let mut null = Attributes::new();
        null.push_null("a");
        assert_eq!(exact(with(null)).expect("it fits").attributes, map([("a", "")]));
    }

    #[test]
    fn a_trace_context_that_is_too_long_is_left_out_and_refuses_no_message() {
        let attributes = [("tracestate", "x".repeat(1025)), ("b", "2".to_owned())];
        let message = exact(with(attributes.into_iter().collect())).expect("without it");
        assert_eq!(message.attributes, map([("b", "2")]));
    }

    #[test]
    fn a_letter_that_fits_tells_of_nothing_lost() {
        assert_eq!(letter_of([("a", "1")].into_iter().collect()), map([("a", "1")]));
    }

    #[test]
    fn a_letter_goes_without_what_does_not_fit_and_has_its_digest_and_size() {
        let mut attributes: Attributes = [("a", "1"), ("goog-x", "2")].into_iter().collect();
        attributes.push("", "3");
        attributes.push("n".repeat(257), "4");
        attributes.push("b", &b"\xff"[..]);
        attributes.push("reason", format!("{}\u{e9}", "x".repeat(1023)));
        let flat = flat(&attributes);
        let mut kept = letter_of(attributes);
        assert_eq!(kept.remove("fmnist.attributes.bytes"), Some(flat.len().to_string()));
        assert_eq!(kept.remove("fmnist.attributes.sha256"), Some(sha256(&flat)));
        let reason = "x".repeat(1023);
        assert_eq!(kept, map([("a", "1"), ("b", "\u{fffd}"), ("reason", &reason)]));
    }

    #[test]
    fn of_too_many_attributes_a_letter_keeps_the_last_and_tells_of_all() {
        let attributes: Attributes = (0..150).map(|n| (format!("n{n}"), n.to_string())).collect();
        let kept = letter_of(attributes.clone());
        assert_eq!(kept.len(), 100);
        assert!(kept.contains_key("n149") && kept.contains_key("n52") && !kept.contains_key("n51"));
        assert_eq!(kept["fmnist.attributes.bytes"], flat(&attributes).len().to_string());
    }

    #[test]
    fn a_letter_goes_without_a_key_that_does_not_fit_and_has_its_digest_and_size() {
        for key in [&b"\xff"[..], &[b'k'; 1025]] {
            let outbound = Outbound {
                key: Some(key.to_vec().into()),
                payload: "data".into(),
                ..Outbound::default()
            };
            let letter = letter(outbound, &Attributes::new());
            assert_eq!((&*letter.ordering_key, &letter.data[..]), ("", &b"data"[..]));
            let digests = [sha256(key), key.len().to_string()];
            let names = ["fmnist.key.sha256", "fmnist.key.bytes"];
            assert_eq!(
                letter.attributes,
                names.map(str::to_owned).into_iter().zip(digests).collect()
            );
        }
    }

    #[test]
    fn the_digest_is_of_names_and_values_with_a_zero_byte_behind_each() {
        let attributes: Attributes = [("a", "bc")].into_iter().collect();
        assert_eq!(flat(&attributes), b"a\0bc\0");
    }
}
