use bytes::Bytes;

/// Headers (Kafka) or attributes (Pub/Sub), in order; names may repeat, values are bytes or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, Option<Bytes>)>);

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one; never replaces.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.0.push((name.into(), Some(value.into())));
    }

    /// Adds one whose value is null, which Kafka knows and Pub/Sub does not.
    pub fn push_null(&mut self, name: impl Into<String>) {
        self.0.push((name.into(), None));
    }

    /// The last value of that name, as Kafka's `lastHeader`; names are compared without case.
    pub fn value(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .and_then(|(_, v)| v.as_ref())
    }

    /// As [`Attributes::value`], where it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&Bytes>)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_ref()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What names and values take, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.as_ref().map_or(0, Bytes::len)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<Bytes>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(n, v)| (n.into(), Some(v.into()))).collect())
    }
}
