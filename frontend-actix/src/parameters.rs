use std::{
    collections::{HashMap, hash_map::Entry},
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web::Query};

use crate::error::ApiError;

/// The parameters of a query or a form, each at most once.
#[derive(Debug)]
pub(crate) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Reads `name=value&…`.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|error| ApiError::Invalid(format!("the parameters can't be read: {error}")))?;
        let mut parameters = HashMap::new();
        for (name, value) in pairs.into_inner() {
            if value.contains('\0') || name.contains('\0') {
                return Err(ApiError::Invalid(format!(
                    "{name:?} has a NUL, which no text here has"
                )));
            }
            match parameters.entry(name) {
                Entry::Vacant(place) => drop(place.insert(value)),
                // Whoever looked at the other one would have read another request.
                Entry::Occupied(place) => {
                    return Err(ApiError::Invalid(format!("{} is given twice", place.key())));
                }
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter that has one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::Invalid(format!("{name} is missing")))
    }

    /// An index that has to be there.
    pub(crate) fn index(&self, name: &str) -> Result<Index, ApiError> {
        let text = self.required(name)?;
        match digits(text) {
            Some(value) => Ok(Index { text: text.to_owned(), value }),
            None => Err(ApiError::Invalid(format!("{name} is not an index: {text:?}"))),
        }
    }

    /// `0 <= start_idx < end_idx <= images`
    pub(crate) fn range(&self, images: usize) -> Result<(Index, Index), ApiError> {
        let (start, end) = (self.index("start_idx")?, self.index("end_idx")?);
        if start.value < end.value && end.value <= images {
            return Ok((start, end));
        }
        Err(ApiError::Invalid(format!(
            "expected 0 <= start_idx < end_idx <= {images}, found {} and {}",
            start.value, end.value
        )))
    }

    /// A parameter as a number that a database holds, too.
    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = digits(text).filter(|number| i64::try_from(*number).is_ok());
        let wrong = || {
            let most = i64::MAX;
            ApiError::Invalid(format!("{name} has to be a number from 0 to {most}, found {text:?}"))
        };
        number.map(Some).ok_or_else(wrong)
    }

    /// Refuses names that mean nothing, so that nobody believes in a filter that does not filter.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let known = known.join(", ");
                Err(ApiError::Invalid(format!("the query may have {known}, found {name:?}")))
            }
        }
    }
}

/// An index, and how the caller wrote it: what goes to Pub/Sub repeats that.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) text: String,
    pub(crate) value: usize,
}

/// A number as messages write it: decimal digits and nothing else.
fn digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl FromRequest for Parameters {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::read(request.query_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_given_twice_or_has_a_nul_is_refused_by_its_name() {
        for (text, expected) in [
            ("start_idx=0&end_idx=5&start_idx=0", "start_idx is given twice"),
            ("a=1&%61=2", "a is given twice"),
            ("label=Ba%00g", "\"label\" has a NUL, which no text here has"),
        ] {
            assert_eq!(Parameters::read(text).expect_err(text).to_string(), expected);
        }
        assert!(Parameters::read("").is_ok());
    }

    #[test]
    fn a_number_is_digits_that_a_database_holds() {
        let number = |text: &str| Parameters::read(text).and_then(|p| p.number("n"));
        assert_eq!(number("n=007").ok(), Some(Some(7)));
        assert_eq!(number("n=9223372036854775807").ok(), Some(Some(i64::MAX as usize)));
        assert_eq!(number("m=1").ok(), Some(None));
        for wrong in ["-1", "%2B1", "1.0", "many", "9223372036854775808", "18446744073709551616"] {
            let error = number(&format!("n={wrong}")).expect_err(wrong).to_string();
            assert!(
                error.starts_with("n has to be a number from 0 to 9223372036854775807"),
                "{error}"
            );
        }
    }
}
