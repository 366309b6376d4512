//! Text from outside: byte-order marks, and the one Unicode form that names are compared in.

pub use stream_inference::text::{TextError, read, without_mark};
use unicode_normalization::UnicodeNormalization;

/// What Windows' programs write before a text in UTF-8.
const MARK: char = '\u{feff}';

/// A name in the form that names are compared in: composed (NFC), without white space and byte-order
/// marks around it.
///
/// What looks alike is mostly equal then: macOS's `é` is two characters where others have one.
pub fn name(text: &str) -> String {
    text.trim_matches(|c: char| c.is_whitespace() || c == MARK).nfc().collect()
}

/// Names as a sentence lists them.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        names => names.concat(),
    }
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
