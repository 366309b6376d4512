//! What a message may ask for, and the words with which one is refused. All that reads messages leans on this
//! file.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use stream_inference::transport::{Rejection, Stage};

use crate::image::Image;

/// Images that one message may carry at most. A range is bounded by the test set instead.
pub const MAX_IMAGES: usize = 10_000;

/// What one message asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The images `start..end` of the configured test set; never empty, always inside it.
    Range {
        /// First index.
        start: usize,
        /// One past the last index.
        end: usize,
    },
    /// Images that the message itself carries; 1 to [`MAX_IMAGES`].
    Images(Vec<Image>),
}

impl Request {
    /// How many images are to be classified; at least 1.
    pub fn images(&self) -> usize {
        match self {
            Self::Range { start, end } => end - start,
            Self::Images(images) => images.len(),
        }
    }
}

/// The media type of a `content-type` value, lower case, without parameters; `None` if empty.
pub(super) fn media_type(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!media_type.is_empty()).then_some(media_type)
}

pub(super) fn check_count(images: usize) -> Result<(), Rejection> {
    if images <= MAX_IMAGES {
        return Ok(());
    }
    let reason = format!("expected at most {MAX_IMAGES} images in a message, found {images}");
    Err(invalid(reason))
}

/// What can't be read.
pub(super) fn malformed(reason: impl Into<String>) -> Rejection {
    Rejection::new(Stage::Decode, reason)
}

/// What can be read, and can't be done.
pub(super) fn invalid(reason: impl Into<String>) -> Rejection {
    Rejection::new(Stage::Validate, reason)
}

/// A list of a few elements. Of a longer one no more is kept: two bytes of JSON would take a dozen times
/// their size.
pub(super) struct Few<T>(pub(super) Vec<T>);

/// Above the dimensions of any shape and the inputs of any request.
const MOST: usize = 16;

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut few = Vec::new();
                while let Some(element) = list.next_element()? {
                    if few.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    few.push(element);
                }
                Ok(Few(few))
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}
