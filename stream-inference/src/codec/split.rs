//! An answer in parts, where it is too large for one message: what parts are called, and how they are cut.
//! All parts together are one outcome.

use std::fmt;

/// The id of a part of an answer: `ID#k/n`, part `k` of `n`, from 1.
///
/// ```
/// use stream_inference::codec::PartId;
///
/// let part = PartId { message: "INFERENCE/0/7", k: 2, n: 3 };
/// assert_eq!(part.to_string(), "INFERENCE/0/7#2/3");
/// assert_eq!(PartId::parse("INFERENCE/0/7#2/3"), Some(part));
/// assert_eq!(PartId::message("INFERENCE/0/7#2/3"), "INFERENCE/0/7");
/// assert_eq!(PartId::message("INFERENCE/0/7"), "INFERENCE/0/7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartId<'i> {
    /// The id of the message that is answered.
    pub message: &'i str,
    /// Which part it is.
    pub k: usize,
    /// How many there are.
    pub n: usize,
}

impl<'i> PartId<'i> {
    /// A result has one part a prediction at most; an id that claims more is not one of ours.
    const MOST: usize = 1 << 20;

    /// The part whose id this is; `None` where it is that of a whole answer.
    pub fn parse(id: &'i str) -> Option<Self> {
        let (message, part) = id.rsplit_once('#')?;
        let (k, n) = part.split_once('/')?;
        let (k, n) = (k.parse().ok()?, n.parse().ok()?);
        (n <= Self::MOST && (1..=n).contains(&k)).then_some(Self { message, k, n })
    }

    /// The id of the message that a result with this id answers, whole or in part.
    pub fn message(id: &'i str) -> &'i str {
        Self::parse(id).map_or(id, |part| part.message)
    }
}

impl fmt::Display for PartId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, k, n } = self;
        write!(f, "{message}#{k}/{n}")
    }
}

/// Encodes a record of many items whole, or, above `max_bytes`, as several parts with a share of the
/// items each, whose ids are `id#k/n` (k from 1). A single item is never cut, however small `max_bytes`
/// is.
///
/// ```
/// use std::convert::Infallible;
///
/// use stream_inference::codec::split;
///
/// let encoded = |id: &str, items: &[u8]| Ok::<_, Infallible>([id.as_bytes(), items].concat());
/// let Ok(parts) = split("a", b"0123456789", 12, encoded);
/// assert_eq!(parts, [("a".to_owned(), b"a0123456789".to_vec())]);
/// let Ok(parts) = split("a", b"0123456789", 10, encoded);
/// assert_eq!(parts[0], ("a#1/2".to_owned(), b"a#1/201234".to_vec()));
/// assert_eq!(parts[1], ("a#2/2".to_owned(), b"a#2/256789".to_vec()));
/// ```
///
/// # Errors
/// The first of `encode`.
pub fn split<T, B: AsRef<[u8]>, E>(
    id: &str,
    items: &[T],
    max_bytes: usize,
    mut encode: impl FnMut(&str, &[T]) -> Result<B, E>,
) -> Result<Vec<(String, B)>, E> {
    let whole = encode(id, items)?;
    let length = whole.as_ref().len();
    if length <= max_bytes || items.len() <= 1 {
        return Ok(vec![(id.to_owned(), whole)]);
    }
    drop(whole);
    let fewest = length / max_bytes.max(1) + 1;
    let mut parts = fewest;
    // Items of about the same size: shares of the same number.
    while parts <= 2 * fewest {
        let share = items.len().div_ceil(parts.min(items.len()));
        let encoded = encode_all(id, &items.chunks(share).collect::<Vec<_>>(), &mut encode)?;
        if share == 1 || encoded.iter().all(|(_, part)| part.as_ref().len() <= max_bytes) {
            return Ok(encoded);
        }
        parts += parts / 16 + 1;
    }
    let mut chunks = Vec::new();
    let longest_id = PartId { message: id, k: 99_999, n: 99_999 }.to_string();
    halve(&longest_id, items, max_bytes, &mut encode, &mut chunks)?;
    encode_all(id, &chunks, &mut encode)
}

/// What a part's payload may have of `max_bytes`, where key and headers take `envelope_bytes`. A large
/// key goes out with every part, and must not multiply them without a bound: an eighth is left at least.
pub fn payload_bytes(max_bytes: usize, envelope_bytes: usize) -> usize {
    max_bytes.saturating_sub(envelope_bytes).max(max_bytes / 8)
}

fn encode_all<T, B, E>(
    id: &str,
    chunks: &[&[T]],
    encode: &mut impl FnMut(&str, &[T]) -> Result<B, E>,
) -> Result<Vec<(String, B)>, E> {
    let part = |(k, items): (usize, &&[T])| {
        let id = PartId { message: id, k, n: chunks.len() }.to_string();
        encode(&id, items).map(|bytes| (id, bytes))
    };
    (1..).zip(chunks).map(part).collect()
}

/// Cuts what is too large in two, and those halves again.
fn halve<'a, T, B: AsRef<[u8]>, E>(
    longest_id: &str,
    items: &'a [T],
    max_bytes: usize,
    encode: &mut impl FnMut(&str, &[T]) -> Result<B, E>,
    chunks: &mut Vec<&'a [T]>,
) -> Result<(), E> {
    if items.len() == 1 || encode(longest_id, items)?.as_ref().len() <= max_bytes {
        chunks.push(items);
        return Ok(());
    }
    let (left, right) = items.split_at(items.len() / 2);
    halve(longest_id, left, max_bytes, encode, chunks)?;
    halve(longest_id, right, max_bytes, encode, chunks)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn one_large_item_among_many_small_ones_stands_alone_and_the_others_stay_together() {
        let mut items = vec!["x".to_owned(); 10_000];
        items[7_777] = "y".repeat(5_000);
        let mut calls = 0;
        let encode = |id: &str, items: &[String]| {
            calls += 1;
            Ok::<_, Infallible>(format!("{id}:{}", items.concat()).into_bytes())
        };
        let Ok(parts) = split("a", &items, 4_000, encode);
        let large: Vec<_> = parts.iter().filter(|(_, part)| part.len() > 4_000).collect();
        assert_eq!(large.len(), 1);
        assert_eq!(large[0].1.len(), large[0].0.len() + 1 + 5_000);
        assert!(parts.len() < 30 && calls < 120, "{} parts in {calls} calls", parts.len());
        let whole: usize = parts.iter().map(|(id, part)| part.len() - id.len() - 1).sum();
        assert_eq!(whole, 9_999 + 5_000);
        let last = parts.last().expect("parts");
        assert_eq!(last.0, format!("a#{0}/{0}", parts.len()));
    }
}
