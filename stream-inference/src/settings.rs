//! What the fields of a configuration are read with. A rule stands on its field alone; reading, the
//! refusal and the JSON Schema take it from there, and in code the field is set as what it is.
//!
//! ```
//! use stream_inference::settings::{self, Whole, WholeOrNull};
//!
//! #[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
//! #[serde(default)]
//! struct Settings {
//!     #[serde(with = "Whole::<0, 100>")]
//!     percent: u8,
//!     #[serde(with = "WholeOrNull::<1, 60_000>")]
//!     timeout_ms: Option<u64>,
//!     #[serde(serialize_with = "settings::hidden")]
//!     pin: Option<String>,
//! }
//!
//! let read = serde_json::from_str::<Settings>;
//! assert_eq!(read(r#"{"percent": 7, "timeout_ms": 10}"#)?.timeout_ms, Some(10));
//! let refused = read(r#"{"percent": 101}"#).unwrap_err().to_string();
//! assert!(refused.starts_with("has to be a whole number from 0 to 100, found 101"));
//! let shown = serde_json::to_string(&read(r#"{"pin": "1234"}"#)?)?;
//! assert_eq!(shown, r#"{"percent":0,"timeout_ms":null,"pin":"(hidden)"}"#);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::ffi::OsStr;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error},
};
use serde_json::Value;
#[cfg(feature = "schema")]
use serde_json::json;

/// What a refusal begins with that says all that there is to say: what a value has to be.
pub const RULE: &str = "has to be ";

/// What stands for a secret.
pub const HIDDEN: &str = "(hidden)";

/// `#[serde(with = "Whole::<LEAST, MOST>")]`: a number of any type, from `LEAST` to `MOST`.
pub type Whole<const LEAST: u64, const MOST: u64> = Bounded<LEAST, MOST, false>;

/// `#[serde(with = "WholeOrNull::<LEAST, MOST>")]`: an `Option` of such a number.
pub type WholeOrNull<const LEAST: u64, const MOST: u64> = Bounded<LEAST, MOST, true>;

/// See [`Whole`] and [`WholeOrNull`].
#[derive(Debug)]
pub struct Bounded<const LEAST: u64, const MOST: u64, const OR_NULL: bool>;

impl<const LEAST: u64, const MOST: u64, const OR_NULL: bool> Bounded<LEAST, MOST, OR_NULL> {
    /// Writes the number as it is.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Serialize, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        number.serialize(to)
    }

    /// Reads the number.
    ///
    /// # Errors
    /// With the range, and what was found.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        let found = Value::deserialize(from)?;
        let number = found.as_u64().filter(|number| (LEAST..=MOST).contains(number));
        if number.is_some() || (OR_NULL && found.is_null()) {
            return T::deserialize(found).map_err(D::Error::custom);
        }
        // What has no end, and may hold passwords, is not repeated.
        let found = match found {
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            found => found.to_string(),
        };
        let expected = format_args!("a whole number from {LEAST} to {MOST}");
        Err(D::Error::custom(format_args!("{RULE}{expected}, found {found}")))
    }
}

#[cfg(feature = "schema")]
impl<const LEAST: u64, const MOST: u64, const OR_NULL: bool> schemars::JsonSchema
    for Bounded<LEAST, MOST, OR_NULL>
{
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("WholeFrom{LEAST}To{MOST}{}", if OR_NULL { "OrNull" } else { "" }).into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = if OR_NULL { json!(["integer", "null"]) } else { json!("integer") };
        schemars::json_schema!({ "type": number, "minimum": LEAST, "maximum": MOST })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// `#[serde(deserialize_with = "none_if_empty")]`: a name or a path; an empty one is none.
///
/// # Errors
/// Those of the deserializer.
pub fn none_if_empty<'de, T: Deserialize<'de> + AsRef<OsStr>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<T>::deserialize(from)?.filter(|text| !text.as_ref().is_empty()))
}

/// `#[serde(serialize_with = "hidden")]`: a secret, of which is shown whether there is one.
///
/// # Errors
/// Those of the serializer.
pub fn hidden<T, S: Serializer>(secret: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(to)
}
