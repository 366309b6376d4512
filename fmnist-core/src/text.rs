//! Text from outside: byte-order marks, and the one Unicode form that names are compared in.

use unicode_normalization::UnicodeNormalization;

/// What Windows' programs write before a text in UTF-8.
const MARK: char = '\u{feff}';

/// Why bytes are not read as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// They begin with the byte-order mark of another encoding.
    #[error("expected UTF-8, found {encoding} by its byte-order mark; save it as UTF-8")]
    Encoding {
        /// Such as `UTF-16`.
        encoding: &'static str,
    },
    /// They are in no known encoding.
    #[error("expected UTF-8, found other bytes from position {position} on")]
    Bytes {
        /// Of the first byte that can't be read.
        position: usize,
    },
}

/// Drops a byte-order mark of UTF-8.
///
/// # Errors
/// [`TextError::Encoding`] where the mark is another encoding's.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], TextError> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(rest),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err(TextError::Encoding { encoding: "UTF-32" })
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(TextError::Encoding { encoding: "UTF-16" }),
        _ => Ok(bytes),
    }
}

/// Reads UTF-8, without its byte-order mark.
///
/// # Errors
/// See [`TextError`].
pub fn read(bytes: &[u8]) -> Result<&str, TextError> {
    let text = without_mark(bytes)?;
    let position = |error: std::str::Utf8Error| bytes.len() - text.len() + error.valid_up_to();
    std::str::from_utf8(text).map_err(|error| TextError::Bytes { position: position(error) })
}

/// A name in the form that names are compared in: composed (NFC), without white space and byte-order
/// marks around it.
///
/// What looks alike is mostly equal then: macOS's `é` is two characters where others have one.
pub fn name(text: &str) -> String {
    text.trim_matches(|c: char| c.is_whitespace() || c == MARK).nfc().collect()
}

/// Says how a list of names differs from what was expected; empty where it does not.
pub fn differences(expected: &[String], found: &[String]) -> String {
    let without = |these: &[String], others: &[String]| -> Vec<String> {
        these.iter().filter(|name| !others.contains(name)).map(|name| shown(name)).collect()
    };
    let (missing, more) = (without(expected, found), without(found, expected));
    let pairs = expected.iter().zip(found).enumerate();
    let mut moved = pairs.filter(|(_, (expected, found))| expected != found);
    match (&*missing, &*more) {
        ([], []) => match moved.next() {
            Some((class, (expected, found))) => {
                let (expected, found) = (shown(expected), shown(found));
                format!("in another order: {class} is {found} and not {expected}")
            }
            None if expected.len() == found.len() => String::new(),
            None => format!("{} names and not {}", found.len(), expected.len()),
        },
        (missing, []) => format!("without {}", listed(missing)),
        ([], more) => format!("with {} besides", listed(more)),
        (missing, more) => format!("with {} and without {}", listed(more), listed(missing)),
    }
}

/// The first names of a list that may be long.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.split_at_checked(SHOWN) {
        Some((first, rest @ [_, ..])) => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// A name with the numbers of its characters that may look like others.
fn shown(name: &str) -> String {
    let escaped: String = name.chars().flat_map(char::escape_default).collect();
    if escaped == name { name.to_owned() } else { format!("{name} (\"{escaped}\")") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_mark_of_utf_8_is_dropped_and_other_encodings_are_named() {
        assert_eq!(read("\u{feff}bag".as_bytes()), Ok("bag"));
        assert_eq!(read(b"bag"), Ok("bag"));
        assert_eq!(read(b""), Ok(""));
        for (bytes, encoding) in [
            (&b"\xff\xfeb\0"[..], "UTF-16"),
            (b"\xfe\xff\0b", "UTF-16"),
            (b"\xff\xfe\0\0b\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0b", "UTF-32"),
        ] {
            assert_eq!(read(bytes), Err(TextError::Encoding { encoding }));
        }
        assert_eq!(read(b"\xef\xbb\xbfb\xe9"), Err(TextError::Bytes { position: 4 }));
    }

    #[test]
    fn names_are_composed_and_bare() {
        assert_eq!(name("\u{feff}cafe\u{301}\r"), "caf\u{e9}");
        assert_eq!(name(" T-shirt/top \u{feff}"), "T-shirt/top");
    }

    #[test]
    fn differences_name_what_differs_and_tell_apart_what_looks_alike() {
        let differ = |expected, found| differences(&names(expected), &names(found));
        assert_eq!(differ("a b c", "a b c"), "");
        assert_eq!(differ("a b c", "a c"), "without b");
        assert_eq!(differ("a b", "a b c d"), "with c, d besides");
        assert_eq!(differ("a b c", "a B c"), "with B and without b");
        assert_eq!(differ("a b c", "a c b"), "in another order: 1 is c and not b");
        assert_eq!(differ("a b", "a b b"), "3 names and not 2");
        assert_eq!(differ("a b c d e f g", "g"), "without a, b, c, d, e and 1 more");
        assert_eq!(
            differ("Coat", "\u{421}oat"),
            "with \u{421}oat (\"\\u{421}oat\") and without Coat"
        );
    }
}
