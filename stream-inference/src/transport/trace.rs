//! W3C Trace Context in headers: read from messages, written to their answers. What goes out is valid,
//! whatever came in.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::{NonZeroU64, NonZeroU128},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Attributes;

pub(super) const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The specification's names first; Google's Pub/Sub clients put a prefix of their own before them.
const NAMES: [(&str, &str); 2] =
    [(TRACEPARENT, TRACESTATE), ("googclient_traceparent", "googclient_tracestate")];

/// The flags that are defined: sampled, and a random trace id.
const FLAGS: u8 = 0b11;
const MAX_MEMBERS: usize = 32;

/// Where a message stands in a distributed trace: W3C Trace Context,
/// <https://www.w3.org/TR/trace-context-2/>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    /// What vendors have to say, unchanged.
    state: Option<String>,
}

impl TraceContext {
    /// Reads `traceparent` and `tracestate`, or else those of Google's Pub/Sub clients,
    /// `googclient_traceparent` and `googclient_tracestate`.
    ///
    /// An invalid `traceparent` counts as none; an invalid `tracestate` is left out.
    pub fn read(attributes: &Attributes) -> Option<Self> {
        NAMES.iter().find_map(|(parent, tracestate)| {
            let context = Self::parse(attributes.text(parent)?)?;
            Some(Self { state: state(attributes, tracestate), ..context })
        })
    }

    /// Reads a `traceparent` of version 00, or what later versions have in common with it.
    fn parse(parent: &str) -> Option<Self> {
        let (fields, more) = parent.split_at_checked(55)?;
        let mut fields = fields.split('-');
        let version: u8 = hexadecimal(fields.next()?, 2)?.try_into().ok()?;
        let trace_id = NonZeroU128::new(hexadecimal(fields.next()?, 32)?)?;
        let span_id = NonZeroU64::new(hexadecimal(fields.next()?, 16)?.try_into().ok()?)?;
        let flags: u8 = hexadecimal(fields.next()?, 2)?.try_into().ok()?;
        let is_known = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let is_whole = is_known && fields.next().is_none();
        is_whole.then_some(Self { trace_id, span_id, flags: flags & FLAGS, state: None })
    }

    /// The same trace, a step further: what goes out with the answer.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: new_span_id(), ..self.clone() }
    }

    /// Adds `traceparent`, and `tracestate` where there is one.
    pub fn write(&self, attributes: &mut Attributes) {
        attributes.push(TRACEPARENT, self.to_string());
        if let Some(state) = &self.state {
            attributes.push(TRACESTATE, state.clone());
        }
    }

    /// Whether both are steps of one trace.
    pub(super) fn is_of_the_trace_of(&self, other: &Self) -> bool {
        self.trace_id == other.trace_id
    }
}

#[cfg(feature = "traces")]
impl TraceContext {
    /// The same trace, `span` a step further.
    pub(crate) fn continued_by(&self, span: &opentelemetry::trace::SpanContext) -> Self {
        let span_id = NonZeroU64::new(u64::from_be_bytes(span.span_id().to_bytes()));
        match span_id {
            Some(span_id) => Self { span_id, ..self.clone() },
            None => self.child(),
        }
    }
}

#[cfg(feature = "traces")]
impl From<&TraceContext> for opentelemetry::trace::SpanContext {
    fn from(context: &TraceContext) -> Self {
        let state = context.state.as_deref().and_then(|state| state.parse().ok());
        Self::new(
            context.trace_id.get().into(),
            context.span_id.get().into(),
            opentelemetry::TraceFlags::new(context.flags),
            true,
            state.unwrap_or_default(),
        )
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags, .. } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// Lower-case digits only, as many as there have to be.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(is_digit);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The members of all `tracestate` headers, in order; `None` if one of them is invalid.
fn state(attributes: &Attributes, name: &str) -> Option<String> {
    let mut members = Vec::new();
    for (_, value) in attributes.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
        let list = std::str::from_utf8(value?).ok()?;
        members
            .extend(list.split(',').map(|m| m.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()));
    }
    let is_valid =
        (1..=MAX_MEMBERS).contains(&members.len()) && members.iter().all(|m| is_member(m));
    is_valid.then(|| members.join(","))
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let starts = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_key = |byte: u8| starts(&byte) || b"_-*/@".contains(&byte);
    let is_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    key.as_bytes().first().is_some_and(starts)
        && key.len() <= 256
        && key.bytes().all(is_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(is_value)
}

/// Never the same in one process, and by chance alone in two: a keyed hash of a counter.
fn new_span_id() -> NonZeroU64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let id = KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(attributes: &[(&str, &str)]) -> Option<TraceContext> {
        TraceContext::read(&attributes.iter().map(|(n, v)| (*n, v.as_bytes().to_vec())).collect())
    }

    fn written(context: &TraceContext) -> Vec<(String, String)> {
        let mut attributes = Attributes::new();
        context.write(&mut attributes);
        let text = |value: &bytes::Bytes| String::from_utf8(value.to_vec()).expect("UTF-8");
        attributes.iter().map(|(n, v)| (n.to_owned(), v.map(text).expect("a value"))).collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let context = read(&[("traceparent", PARENT), ("tracestate", "rojo=00f067aa0ba902b7")]);
        let expected = [("traceparent", PARENT), ("tracestate", "rojo=00f067aa0ba902b7")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(written(&context.expect("valid")), expected);
        // A later version: what follows a dash is not ours to read, unknown flags are not passed on.
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-f1-what-comes";
        let context = read(&[("traceparent", later)]).expect("valid");
        assert_eq!(context.to_string(), PARENT);
    }

    #[test]
    fn an_invalid_traceparent_counts_as_none() {
        let cases = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for parent in cases {
            assert_eq!(read(&[("traceparent", parent)]), None, "{parent}");
            let google = [("traceparent", parent), ("googclient_traceparent", PARENT)];
            assert_eq!(read(&google).expect("the other one").to_string(), PARENT);
        }
        assert_eq!(read(&[("tracestate", "a=1")]), None);
    }

    #[test]
    fn an_invalid_tracestate_is_left_out_and_several_are_one_list() {
        let state = |values: &[&str]| {
            let parent = std::iter::once(("traceparent", PARENT));
            let states = values.iter().map(|value| ("tracestate", *value));
            read(&parent.chain(states).collect::<Vec<_>>()).expect("a valid parent").state
        };
        assert_eq!(state(&["a=1, b@c=2 ,", "d=3"]), Some("a=1,b@c=2,d=3".to_owned()));
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for invalid in ["a", "=1", "a=", "A=1", "a=1=2", "a=\u{e9}", "_a=1", &many] {
            assert_eq!(state(&[invalid]), None, "{invalid}");
        }
    }

    #[test]
    fn a_thousand_children_are_a_thousand_steps_of_one_trace() {
        let parent = read(&[("traceparent", PARENT), ("tracestate", "a=1")]).expect("valid");
        let mut spans = std::collections::HashSet::from([parent.span_id]);
        for _ in 0..1_000 {
            let child = parent.child();
            assert!(spans.insert(child.span_id), "{child}");
            assert_eq!(TraceContext { span_id: parent.span_id, ..child }, parent);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let parent = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let context = read(&[("traceparent", &parent)]).expect("valid");
            prop_assert_eq!(context.to_string(), parent);
            let child = context.child();
            let attributes = written(&child);
            let borrowed: Vec<_> = attributes.iter().map(|(n, v)| (&**n, &**v)).collect();
            prop_assert_eq!(read(&borrowed), Some(child));
        }

        #[test]
        fn whatever_stands_in_the_headers_what_goes_out_is_valid(
            parent in "[0-9a-f-]{50,60}|.*", state in "[a-z=, ]{0,40}|.*",
        ) {
            if let Some(context) = read(&[("traceparent", &parent), ("tracestate", &state)]) {
                let attributes = written(&context);
                let borrowed: Vec<_> = attributes.iter().map(|(n, v)| (&**n, &**v)).collect();
                prop_assert_eq!(read(&borrowed), Some(context));
            }
        }
    }
}
