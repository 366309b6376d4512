//! What a line says: bare, the payload; as an envelope, key and attributes, too.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use fmnist_core::{
    text,
    transport::{Attributes, Outbound},
};
use serde::{Deserialize, Serialize};

/// How lines and messages become each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A line is a payload.
    Bare,
    /// A line is `{"key": …, "attributes": [[name, value], …], "payload": …}`.
    Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<Data>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    attributes: Vec<(String, Option<Data>)>,
    payload: Data,
}

/// Bytes in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Data {
    Text(String),
    Binary { base64: String },
}

impl Format {
    /// Reads a line, which comes without its end.
    pub(crate) fn read(self, line: &Bytes) -> Result<Outbound, String> {
        if self == Self::Bare {
            return Ok(Outbound { payload: line.clone(), ..Outbound::default() });
        }
        let read = |error| format!("expected an envelope: {error}");
        let line = text::without_mark(line).map_err(|e| read(e.to_string()))?;
        let envelope: Envelope = serde_json::from_slice(line).map_err(|e| read(e.to_string()))?;
        let mut attributes = Attributes::new();
        for (name, value) in envelope.attributes {
            match value {
                Some(value) => attributes.push(name, value.bytes().map_err(read)?),
                None => attributes.push_null(name),
            }
        }
        let key = envelope.key.map(Data::bytes).transpose().map_err(read)?;
        let payload = envelope.payload.bytes().map_err(read)?;
        Ok(Outbound { key, attributes, payload, ..Outbound::default() })
    }

    /// Writes a message as a line.
    pub(crate) fn write(self, output: &mut impl Write, message: &Outbound) -> io::Result<()> {
        match self {
            Self::Bare => output.write_all(&message.payload)?,
            Self::Envelope => {
                let attributes = message.attributes.iter();
                let envelope = Envelope {
                    key: message.key.as_ref().map(Data::new),
                    attributes: attributes.map(|(n, v)| (n.to_owned(), v.map(Data::new))).collect(),
                    payload: Data::new(&message.payload),
                };
                serde_json::to_writer(&mut *output, &envelope)?;
            }
        }
        output.write_all(b"\n")
    }
}

impl Data {
    fn new(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { base64: BASE64_STANDARD.encode(bytes) },
        }
    }

    fn bytes(self) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Binary { base64 } => {
                let decoded = BASE64_STANDARD.decode(base64);
                decoded.map(Bytes::from).map_err(|error| format!("base64: {error}"))
            }
        }
    }
}
