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
    let mut parts = length / max_bytes.max(1) + 1;
    loop {
        let share = items.len().div_ceil(parts.min(items.len()));
        let chunks = items.chunks(share);
        let count = chunks.len();
        let encoded: Vec<(String, B)> = (1..)
            .zip(chunks)
            .map(|(k, part)| {
                let id = format!("{id}#{k}/{count}");
                encode(&id, part).map(|bytes| (id, bytes))
            })
            .collect::<Result<_, E>>()?;
        if share == 1 || encoded.iter().all(|(_, part)| part.as_ref().len() <= max_bytes) {
            return Ok(encoded);
        }
        parts += parts / 16 + 1;
    }
}
