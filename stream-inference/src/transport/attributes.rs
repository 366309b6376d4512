//! Headers of messages, as bytes that are mostly text. They go out as they came.

use std::sync::Arc;

use bytes::Bytes;

/// Headers (Kafka) or attributes (Pub/Sub), in order; names may repeat, values are bytes or null.
///
/// Names are text to who reads them. One that came as other bytes, as Kafka allows, keeps them for
/// the way back ([`Attributes::iter_raw`]) and reads as its UTF-8 parts with the rest as `\xe9`.
///
/// A clone shares them until one of the two gets another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Option<Arc<Vec<Attribute>>>);

type Attribute = (Name, Option<Bytes>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: String,
    /// What came, where that is not the text.
    bytes: Option<Box<[u8]>>,
}

impl Name {
    fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self { text, bytes: None }
    }
}

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds one; never replaces.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.add(name.into().into(), Some(value.into()));
    }

    /// Adds one whose value is null, which Kafka knows and Pub/Sub does not.
    pub fn push_null(&mut self, name: impl Into<String>) {
        self.add(name.into().into(), None);
    }

    /// Adds one whose name need not be UTF-8.
    pub fn push_raw(&mut self, name: &[u8], value: Option<Bytes>) {
        let name = match std::str::from_utf8(name) {
            Ok(text) => text.to_owned().into(),
            Err(_) => Name { text: readable(name), bytes: Some(name.into()) },
        };
        self.add(name, value);
    }

    /// None are `None`, so that they are equal to those that never were any.
    fn of(all: Vec<Attribute>) -> Self {
        Self((!all.is_empty()).then(|| all.into()))
    }

    fn add(&mut self, name: Name, value: Option<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_default()).push((name, value));
    }

    fn all(&self) -> &[Attribute] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The last value of that name, as Kafka's `lastHeader`; names are compared without case.
    pub fn value(&self, name: &str) -> Option<&Bytes> {
        self.all()
            .iter()
            .rev()
            .find(|(n, _)| n.text.eq_ignore_ascii_case(name))
            .and_then(|(_, v)| v.as_ref())
    }

    /// As [`Attributes::value`], where it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&Bytes>)> {
        self.all().iter().map(|(n, v)| (n.text.as_str(), v.as_ref()))
    }

    /// All, in order, with the names' bytes as they came.
    pub fn iter_raw(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.all().iter().map(|(n, v)| (n.bytes(), v.as_ref()))
    }

    /// Those that `keeps` accepts by their place and name.
    pub(super) fn filtered(&self, mut keeps: impl FnMut(usize, &str) -> bool) -> Self {
        let all = self.all().iter().enumerate();
        let kept = all.filter(|(index, (name, _))| keeps(*index, &name.text));
        Self::of(kept.map(|(_, attribute)| attribute.clone()).collect())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// What names and values take, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.all().iter().map(|(n, v)| n.bytes().len() + v.as_ref().map_or(0, Bytes::len)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

fn readable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

impl<N: Into<String>, V: Into<Bytes>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::of(pairs.into_iter().map(|(n, v)| (n.into().into(), Some(v.into()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf8_reads_as_text_and_keeps_its_bytes() {
        let mut attributes = Attributes::new();
        attributes.push_raw(b"caf\xe9", Some("1".into()));
        attributes.push_raw("caf\u{e9}".as_bytes(), None);
        let texts: Vec<_> = attributes.iter().map(|(name, _)| name).collect();
        assert_eq!(texts, ["caf\\xe9", "caf\u{e9}"]);
        let bytes: Vec<_> = attributes.iter_raw().map(|(name, _)| name).collect();
        assert_eq!(bytes, [&b"caf\xe9"[..], "caf\u{e9}".as_bytes()]);
        assert_eq!(attributes.text("CAF\\xe9"), Some("1"));
        assert_eq!(attributes.size_bytes(), 4 + 1 + 5);
    }
}
