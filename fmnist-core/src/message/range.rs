//! Ranges of the test set, from JSON and from attributes.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use stream_inference::transport::{Attributes, Rejection};

use super::request::{Request, invalid, malformed};

/// A half-open range as it was asked for; any integers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    start: i128,
    end: i128,
}

/// A member of a JSON object that should be an integer, without quotes or fraction.
pub(super) enum Index {
    Integer(i128),
    /// In words: what it holds is not kept, because a list in memory takes many times its text.
    Other(String),
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Member;

        impl<'de> Visitor<'de> for Member {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Index, E> {
                Ok(Index::Integer(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Index, E> {
                Ok(Index::Integer(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Index, E> {
                Ok(Index::Other(Value::from(value).to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Index, E> {
                Ok(Index::Other(value.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Index, E> {
                Ok(Index::Other(quoted(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Index, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Index::Other("a list".to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Index, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Index::Other("an object".to_owned()))
            }
        }

        deserializer.deserialize_any(Member)
    }
}

/// Reads the members of a JSON object.
pub(super) fn from_json(start: Option<Index>, end: Option<Index>) -> Result<Bounds, Rejection> {
    let index = |name: &str, index: Option<Index>| match index {
        Some(Index::Integer(integer)) => Ok(integer),
        Some(Index::Other(found)) => {
            Err(malformed(format!("expected {name} as an integer, found {found}")))
        }
        None => Err(malformed(format!("{name} is missing"))),
    };
    Ok(Bounds { start: index("start_idx", start)?, end: index("end_idx", end)? })
}

/// Reads the attributes of an old Pub/Sub message: decimal strings. `None` if there are neither.
pub(super) fn from_attributes(attributes: &Attributes) -> Result<Option<Bounds>, Rejection> {
    let index = |name: &str| {
        let text = attributes.value(name).map(|value| String::from_utf8_lossy(value));
        let text = text.ok_or_else(|| malformed(format!("attribute {name} is missing")))?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed(format!(
                "expected attribute {name} as a decimal integer, found {}",
                quoted(&text)
            )));
        }
        // Too long for the type is also too long for any test set; the sign still counts.
        let limit = if text.starts_with('-') { i128::MIN } else { i128::MAX };
        Ok(text.parse().unwrap_or(limit))
    };
    if attributes.value("start_idx").or(attributes.value("end_idx")).is_none() {
        return Ok(None);
    }
    Ok(Some(Bounds { start: index("start_idx")?, end: index("end_idx")? }))
}

impl Bounds {
    /// Checks the range against the length of the test set.
    pub(super) fn request(self, test_images: usize) -> Result<Request, Rejection> {
        let Self { start, end } = self;
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if start < end && end <= test_images => {
                Ok(Request::Range { start, end })
            }
            _ => Err(invalid(format!(
                "expected 0 <= start_idx < end_idx <= {test_images}, found start_idx {start} and \
                 end_idx {end}"
            ))),
        }
    }
}

/// The text as JSON, cut to what fits in a header.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", Value::from(&text[..end])),
        None => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use stream_inference::transport::Stage;

    use super::*;

    fn from_texts(start: &str, end: &str) -> Result<Option<Bounds>, Rejection> {
        from_attributes(
            &[("start_idx", start.to_owned()), ("end_idx", end.to_owned())].into_iter().collect(),
        )
    }

    #[test]
    fn only_json_integers_are_indices() {
        let index = |json: &str| serde_json::from_str(json).ok();
        for (bad, found) in [
            ("1.5", "1.5"),
            ("1.0", "1.0"),
            (r#""0""#, r#""0""#),
            ("true", "true"),
            ("[0, [1]]", "a list"),
            (r#"{"0": {}}"#, "an object"),
            ("1e30", "1e+30"),
        ] {
            let rejection = from_json(index(bad), index("5")).expect_err("no integer");
            assert_eq!(rejection.stage, Stage::Decode);
            let reason = format!("expected start_idx as an integer, found {found}");
            assert_eq!(rejection.reason, reason);
        }
        let rejection = from_json(index("0"), None).expect_err("no end");
        assert_eq!(rejection, malformed("end_idx is missing"));
    }

    #[test]
    fn only_decimal_attributes_are_indices() {
        for bad in ["", "-", "+1", " 1", "0x10", "1.0", "١", "five"] {
            let rejection = from_texts(bad, "5").expect_err(bad);
            assert_eq!(rejection.stage, Stage::Decode, "{bad:?}");
            assert!(rejection.reason.contains(&format!("{bad:?}")), "{}", rejection.reason);
        }
        assert_eq!(from_texts("007", "10"), Ok(Some(Bounds { start: 7, end: 10 })));
    }

    #[test]
    fn one_attribute_alone_is_named_as_half_a_range() {
        let start = [("start_idx", "0")].into_iter().collect();
        assert_eq!(from_attributes(&start), Err(malformed("attribute end_idx is missing")));
        assert_eq!(from_attributes(&Attributes::new()), Ok(None));
    }

    #[test]
    fn a_range_is_half_open_and_inside_the_test_set() {
        let request = |start, end| Bounds { start, end }.request(10);
        assert_eq!(request(0, 10), Ok(Request::Range { start: 0, end: 10 }));
        assert_eq!(request(9, 10), Ok(Request::Range { start: 9, end: 10 }));
        for (start, end) in [(-1, 5), (5, 5), (5, 3), (0, 11), (10, 11), (0, i128::MAX)] {
            let rejection = request(start, end).expect_err("outside");
            assert_eq!(rejection.stage, Stage::Validate);
            assert_eq!(
                rejection.reason,
                format!(
                    "expected 0 <= start_idx < end_idx <= 10, found start_idx {start} and end_idx \
                     {end}"
                )
            );
        }
    }

    #[test]
    fn endless_digits_are_out_of_range_and_long_values_are_cut() {
        let digits = "9".repeat(1000);
        let bounds = from_texts("0", &digits).expect("digits").expect("a range");
        assert_eq!(bounds.request(10).expect_err("outside").stage, Stage::Validate);
        let rejection = from_texts(&"x".repeat(1000), "1").expect_err("no digits");
        assert!(rejection.reason.len() < 120, "{}", rejection.reason);
    }
}
