//! Text from outside, which may begin with a byte-order mark.

/// Why bytes are not read as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
