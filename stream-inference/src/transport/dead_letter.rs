//! Dead letters, both ways: made by transports of what was refused, read back by who sends it again. Reading
//! takes away what making added, and nothing else.

use bytes::Bytes;

use super::{
    Attributes, Delivery, Outbound, Rejection,
    trace::{TRACEPARENT, TraceContext},
};
use crate::{file::sha256, names};

/// The dead letter of `delivery`: key, payload and attributes untouched, and the reason added in
/// the headers of Kafka Connect (KIP-298), which most tools read.
///
/// The message's id is in the header `id`, the delivery attempt, where known, in `attempt`, both with
/// the prefix of [`names`]. A message of a trace gets a `traceparent` of its own, behind the one that it
/// came with.
pub fn dead_letter<T>(delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
    DeadLetterForm::Whole.letter(delivery, rejection)
}

/// What goes instead of a dead letter that the broker refuses as too large: the same headers
/// without the original ones, the payload's SHA-256 and size, and no payload.
pub fn dead_letter_stub<T>(delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
    DeadLetterForm::Stub.letter(delivery, rejection)
}

fn push_digest(attributes: &mut Attributes, part: &str, bytes: &[u8]) {
    attributes.push(names::header(&format!("{part}.sha256")), sha256(bytes));
    attributes.push(names::header(&format!("{part}.bytes")), bytes.len().to_string());
}

/// How much of its message a dead letter holds: what a broker refuses as too large goes as less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterForm {
    /// See [`dead_letter`].
    #[default]
    Whole,
    /// See [`dead_letter_stub`].
    Stub,
    /// A stub with the key's SHA-256 and size instead of a key that does not fit.
    KeylessStub,
}

impl DeadLetterForm {
    /// The next smaller one.
    pub const fn smaller(self) -> Option<Self> {
        match self {
            Self::Whole => Some(Self::Stub),
            Self::Stub => Some(Self::KeylessStub),
            Self::KeylessStub => None,
        }
    }

    /// The dead letter of `delivery` in this form.
    pub fn letter<T>(self, delivery: &Delivery<T>, rejection: &Rejection) -> Outbound {
        let Delivery { key, attributes, payload, .. } = delivery;
        let (is_whole, has_key) = (self == Self::Whole, self != Self::KeylessStub);
        let original = if is_whole { attributes.clone() } else { Attributes::new() };
        let mut added = provenance(delivery, rejection, original);
        if !is_whole {
            push_digest(&mut added, "payload", payload);
        }
        if let Some(key) = key.as_ref().filter(|_| !has_key) {
            push_digest(&mut added, "key", key);
        }
        match TraceContext::read(attributes).map(|trace| trace.child()) {
            Some(child) if self == Self::Stub => child.write(&mut added),
            // Among the original headers there is a `tracestate`; with the least of them goes none.
            Some(child) => added.push(TRACEPARENT, child.to_string()),
            None => {}
        }
        Outbound {
            key: key.clone().filter(|_| has_key),
            attributes: added,
            payload: if is_whole { payload.clone() } else { Bytes::new() },
            ..Outbound::default()
        }
    }
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
    attributes.push("__connect.errors.connector.name", names::program());
    attributes.push("__connect.errors.stage", rejection.stage.as_str());
    attributes.push("__connect.errors.exception.message", rejection.reason.clone());
    attributes.push(names::header(ID), delivery.id.clone());
    if let Some(attempt) = delivery.attempt {
        attributes.push(names::header(ATTEMPT), attempt.to_string());
    }
    attributes
}

// Of these, `names::header` makes headers.
const ID: &str = "id";
const ATTEMPT: &str = "attempt";
/// Counts how often a message was sent again from the dead letters.
const REDRIVES: &str = "redrives";
/// What the forms of a dead letter add: of Kafka Connect's headers, and of its own.
const ADDED: [&str; 6] = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.connector.name",
    "__connect.errors.stage",
    "__connect.errors.exception.message",
];
const ADDED_OWN: [&str; 8] = [
    ID,
    ATTEMPT,
    "payload.sha256",
    "payload.bytes",
    "key.sha256",
    "key.bytes",
    "attributes.sha256",
    "attributes.bytes",
];
/// What tells that a part of the message is not in its letter.
const LEFT_OUT: [&str; 3] = ["payload.sha256", "key.sha256", "attributes.sha256"];

/// A dead letter, read back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id of the message that was refused.
    pub id: String,
    /// The step that refused it, such as `DECODE`.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How often the message was sent again before.
    pub redrives: u32,
    /// The message did not fit into the dead letters: payload, key or attributes are not all here.
    pub is_stub: bool,
    original: Outbound,
}

impl DeadLetter {
    /// Reads a dead letter of any [`DeadLetterForm`]; `None` if it is something else.
    pub fn read(letter: Outbound) -> Option<Self> {
        let text = |name: &str| letter.attributes.text(name).map(str::to_owned);
        let own = |name| text(&names::header(name));
        let redrives = own(REDRIVES).and_then(|count| count.parse().ok()).unwrap_or(0);
        Some(Self {
            id: own(ID)?,
            stage: text("__connect.errors.stage")?,
            reason: text("__connect.errors.exception.message").unwrap_or_default(),
            redrives,
            is_stub: LEFT_OUT.into_iter().any(|name| own(name).is_some()),
            original: Outbound { attributes: without_added(&letter.attributes), ..letter },
        })
    }

    /// The message to send again: key, payload and headers as they came, and the count of redrives.
    pub fn redriven(&self) -> Outbound {
        let mut message = self.original.clone();
        message.attributes.push(names::header(REDRIVES), (self.redrives + 1).to_string());
        message
    }
}

/// The attributes without the last of each name that was added. A message that brought the same
/// name with it, say from another system's dead letters, keeps its own.
fn without_added(attributes: &Attributes) -> Attributes {
    let all: Vec<_> = attributes.iter().collect();
    let has_own_trace = has_own_trace(attributes);
    let (own, redrives) = (ADDED_OWN.map(names::header), names::header(REDRIVES));
    let added = |index: usize, name: &str| {
        let is_last = !all[index + 1..].iter().any(|(later, _)| *later == name);
        let is_added = ADDED.contains(&name)
            || own.iter().any(|own| own == name)
            || (has_own_trace && name == TRACEPARENT);
        (is_added && is_last) || name == redrives
    };
    attributes.filtered(|index, name| !added(index, name))
}

/// Whether the last `traceparent` was added to one that the message brought. Where a broker keeps
/// one value of a name, the added one stays, and a message that is sent again goes on from it.
fn has_own_trace(attributes: &Attributes) -> bool {
    let context =
        |value: &Bytes| TraceContext::read(&[(TRACEPARENT, value.clone())].into_iter().collect());
    let named = attributes.iter().filter(|(name, _)| *name == TRACEPARENT);
    let contexts: Vec<_> = named.map(|(_, value)| value.and_then(context)).collect();
    match &contexts[..] {
        [.., Some(before), Some(last)] => last.is_of_the_trace_of(before),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::transport::{Source, Stage};

    fn delivery(attributes: Attributes) -> Delivery<()> {
        Delivery {
            id: "t/0/7".to_owned(),
            source: Source {
                transport: "kafka".into(),
                topic: Arc::from("t"),
                partition: Some(0),
                offset: Some(7),
                message_id: None,
            },
            lane: None,
            attempt: Some(2),
            key: Some(Bytes::from_static(b"\xc3\x28")),
            attributes,
            payload: Bytes::from_static(b"{\xff"),
            token: (),
        }
    }

    fn names(message: &Outbound) -> Vec<&str> {
        message.attributes.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_redriven_message_is_the_original_and_the_count() {
        let mut attributes: Attributes = [("trace", "7"), ("trace", "8")].into_iter().collect();
        attributes.push_null("nothing");
        attributes.push_raw(b"caf\xe9", Some("9".into()));
        let original = delivery(attributes);
        let letter = dead_letter(&original, &Rejection::new(Stage::Decode, "bad"));
        let read = DeadLetter::read(letter).expect("a dead letter");
        assert_eq!((&*read.id, &*read.stage, &*read.reason), ("t/0/7", "DECODE", "bad"));
        assert_eq!((read.redrives, read.is_stub), (0, false));
        let again = read.redriven();
        assert_eq!((again.key, again.payload), (original.key, original.payload));
        let again = read.redriven();
        assert_eq!(
            names(&again),
            ["trace", "trace", "nothing", "caf\\xe9", &*names::header("redrives")]
        );
        assert_eq!(again.attributes.iter_raw().nth(3), Some((&b"caf\xe9"[..], Some(&"9".into()))));
        assert_eq!(again.attributes.text(&names::header("redrives")), Some("1"));
    }

    #[test]
    fn redrives_are_counted_over_several_rounds() {
        let mut attributes = Attributes::new();
        for round in 1..=3 {
            let letter = dead_letter(&delivery(attributes), &Rejection::new(Stage::Infer, "nan"));
            let read = DeadLetter::read(letter).expect("a dead letter");
            assert_eq!(read.redrives, round - 1);
            let again = read.redriven();
            assert_eq!(names(&again), [&*names::header("redrives")]);
            attributes = again.attributes;
        }
    }

    #[test]
    fn headers_of_another_systems_dead_letters_stay() {
        let theirs = [("__connect.errors.topic", "orders"), ("__connect.errors.stage", "VALUE")];
        let original = delivery(theirs.into_iter().collect());
        let letter = dead_letter(&original, &Rejection::new(Stage::Decode, "bad"));
        let read = DeadLetter::read(letter).expect("a dead letter");
        assert_eq!(read.stage, "DECODE");
        let again = read.redriven();
        assert_eq!(again.attributes.text("__connect.errors.topic"), Some("orders"));
        assert_eq!(again.attributes.len(), 3);
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_dead_letter_is_a_step_of_its_messages_trace_and_a_redriven_message_is_not() {
        let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("b", "2")];
        let original = delivery(headers.into_iter().collect());
        let rejection = Rejection::new(Stage::Decode, "bad");
        let parent = TraceContext::read(&original.attributes).expect("valid");
        for letter in [dead_letter(&original, &rejection), dead_letter_stub(&original, &rejection)]
        {
            let child = TraceContext::read(&letter.attributes).expect("a context");
            assert!(child != parent && child.is_of_the_trace_of(&parent), "{child}");
            assert_eq!(letter.attributes.text("tracestate"), Some("a=1"));
        }
        let letter = dead_letter(&original, &rejection);
        assert!(letter.attributes.iter().take(3).eq(original.attributes.iter()));
        let again = DeadLetter::read(letter).expect("a dead letter").redriven();
        assert_eq!(names(&again), ["traceparent", "tracestate", "b", &*names::header("redrives")]);
        assert_eq!(again.attributes.text("traceparent"), Some(PARENT));
    }

    #[test]
    fn an_invalid_traceparent_stays_as_it_was() {
        let headers = [("traceparent", PARENT), ("traceparent", "00-nonsense")];
        let original = delivery(headers.into_iter().collect());
        let letter = dead_letter(&original, &Rejection::new(Stage::Decode, "bad"));
        let again = DeadLetter::read(letter).expect("a dead letter").redriven();
        assert_eq!(names(&again), ["traceparent", "traceparent", &*names::header("redrives")]);
    }

    #[test]
    fn a_stub_is_known_and_anything_else_is_no_dead_letter() {
        let stub =
            dead_letter_stub(&delivery(Attributes::new()), &Rejection::new(Stage::Decode, ""));
        assert!(DeadLetter::read(stub).expect("a dead letter").is_stub);
        assert_eq!(DeadLetter::read(Outbound::default()), None);
    }

    #[test]
    fn a_key_that_does_not_fit_is_told_by_its_digest_and_size() {
        let mut original = delivery(Attributes::new());
        original.key = Some(Bytes::from_static(b"abc"));
        let rejection = Rejection::new(Stage::Decode, "bad");
        let stub = DeadLetterForm::Stub.smaller().expect("a smaller one");
        let stub = stub.letter(&original, &rejection);
        assert_eq!((&stub.key, stub.payload.len()), (&None, 0));
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(stub.attributes.text(&names::header("key.sha256")), Some(digest));
        assert_eq!(stub.attributes.text(&names::header("key.bytes")), Some("3"));
        assert_eq!(stub.attributes.text(&names::header("payload.bytes")), Some("2"));
        let read = DeadLetter::read(stub).expect("a dead letter");
        assert!(read.is_stub);
        assert_eq!(names(&read.redriven()), [&*names::header("redrives")]);
    }

    #[test]
    fn a_letter_without_all_attributes_of_its_message_is_not_whole() {
        let mut letter =
            dead_letter(&delivery(Attributes::new()), &Rejection::new(Stage::Decode, "bad"));
        letter.attributes.push(names::header("attributes.sha256"), "0");
        letter.attributes.push(names::header("attributes.bytes"), "7");
        let read = DeadLetter::read(letter).expect("a dead letter");
        assert!(read.is_stub);
        assert_eq!(names(&read.redriven()), [&*names::header("redrives")]);
    }
}
