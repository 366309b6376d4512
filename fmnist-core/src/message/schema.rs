//! JSON Schemas of what travels, draft 7, which most tools read.
//!
//! Results are described from their type. Requests are read by hand, so that refusals can say what
//! was found: their schemas are written by hand, too, and a test holds them to the decoder.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{MAX_IMAGES, OUTPUTS, Output, ResultRecord};
use crate::image::Image;

/// The schema of a type as it is written: one document without references, links in its texts taken
/// out.
fn written<T: schemars::JsonSchema>() -> Value {
    inlined::<T>(SchemaSettings::draft07().for_serialize())
}

/// The schema of a type as it is read, where what has a default may be left out; otherwise the same.
pub fn read<T: schemars::JsonSchema>() -> Value {
    inlined::<T>(SchemaSettings::draft07().for_deserialize())
}

fn inlined<T: schemars::JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Rust's own formats mean nothing to others, and neither do links into the API's documentation.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_foreign = |format: &Value| {
                ["uint", "uint8", "uint16", "uint32", "uint64", "int32", "int64", "float"]
                    .contains(&format.as_str().unwrap_or_default())
            };
            if members.get("format").is_some_and(is_foreign) {
                members.remove("format");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The schema of a result, see [`ResultRecord`].
pub fn result() -> Value {
    let mut schema = written::<ResultRecord>();
    schema["title"] = "Result".into();
    schema
}

/// The schema of a request for a range of the test set. That `start_idx` is below `end_idx`, and
/// `end_idx` within the test set, no schema can say.
pub fn range() -> Value {
    let index = |description: &str, least: u8| json!({ "type": "integer", "minimum": least, "description": description });
    document(
        "Range",
        "Images start_idx to end_idx - 1 of the configured test set; other members are ignored.",
        json!({
            "type": "object",
            "required": ["start_idx", "end_idx"],
            "properties": {
                "start_idx": index("First index.", 0),
                "end_idx": index("One past the last index, at most the length of the test set.", 1),
                "inputs": { "type": "null" },
            },
        }),
    )
}

/// The schema of an Open Inference Protocol request. That `data` has the length of `shape` no schema
/// can say.
pub fn inference_request() -> Value {
    let side = Image::WIDTH;
    let count = json!({ "type": "integer", "minimum": 1, "maximum": MAX_IMAGES });
    let shape = |rest: &[usize]| {
        let rest = rest.iter().map(|length| json!({ "const": length }));
        let items: Vec<Value> = [count.clone()].into_iter().chain(rest).collect();
        json!({ "items": items, "minItems": items.len(), "maxItems": items.len() })
    };
    let mut numbers = json!({ "type": "number" });
    for _ in 0..4 {
        numbers = json!({ "anyOf": [{ "type": "number" }, { "type": "array", "items": numbers }] });
    }
    let names = OUTPUTS.map(Output::name);
    document(
        "InferenceRequest",
        "Images as one tensor of the Open Inference Protocol, version 2; other members are ignored.",
        json!({
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": { "type": ["string", "null"], "description": "Comes back with the response." },
                "start_idx": { "type": "null" },
                "end_idx": { "type": "null" },
                "inputs": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "shape", "datatype", "data"],
                        "properties": {
                            "name": { "const": "image" },
                            "datatype": {
                                "enum": ["FP32", "UINT8"],
                                "description": "Pixels / 255 in 0.0–1.0, or pixels in 0–255; 0 is background.",
                            },
                            "shape": {
                                "type": "array",
                                "anyOf": [
                                    shape(&[1, side, side]),
                                    shape(&[side, side]),
                                    shape(&[side, side, 1]),
                                    shape(&[Image::PIXELS]),
                                ],
                            },
                            "data": {
                                "type": "array",
                                "items": numbers,
                                "description": "Row-major; flat, or nested exactly as the shape says.",
                            },
                        },
                    },
                },
                "outputs": {
                    "type": ["array", "null"],
                    "description": "Only of use over HTTP: which outputs to answer with.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": { "name": { "enum": names } },
                    },
                },
            },
        }),
    )
}

/// The schema of the headers that a dead letter has beside those of its message.
pub fn dead_letter_headers() -> Value {
    let header = |description: &str| json!({ "type": "string", "description": description });
    let matching = |pattern: &str, description: &str| json!({ "type": "string", "pattern": pattern, "description": description });
    let number = |description: &str| matching("^[0-9]+$", description);
    let digest = |description: &str| matching("^[0-9a-f]{64}$", description);
    document(
        "DeadLetterHeaders",
        "What is added to the message's own headers; the names are Kafka Connect's (KIP-298).",
        json!({
            "type": "object",
            "required": [
                "__connect.errors.topic",
                "__connect.errors.connector.name",
                "__connect.errors.stage",
                "__connect.errors.exception.message",
                "fmnist.id",
            ],
            "properties": {
                "__connect.errors.topic": header("The topic that the message came from."),
                "__connect.errors.partition": number("Its partition on Kafka."),
                "__connect.errors.offset": number("Its offset on Kafka."),
                "__connect.errors.connector.name": { "const": "fmnist-stream" },
                "__connect.errors.stage": {
                    "enum": ["DECODE", "VALIDATE", "INFER", "ENCODE", "PUBLISH"],
                    "description": "The step that refused it.",
                },
                "__connect.errors.exception.message": header("What was expected and found."),
                "fmnist.id": header("The message's id."),
                "fmnist.attempt": number("The delivery attempt, where the broker counts them."),
                "fmnist.payload.sha256": digest("Only where the payload was too large and was left out."),
                "fmnist.payload.bytes": number("Only where the payload was left out: its size."),
                "fmnist.key.sha256": digest("Only where the key did not fit and was left out."),
                "fmnist.key.bytes": number("Only where the key was left out: its size."),
                "fmnist.attributes.sha256": digest("Only on Pub/Sub, where not all attributes fitted."),
                "fmnist.attributes.bytes": number("Only where not all attributes fitted: their size."),
            },
        }),
    )
}

fn document(title: &str, description: &str, schema: Value) -> Value {
    let mut members = Map::new();
    members.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    members.insert("title".to_owned(), title.into());
    members.insert("description".to_owned(), description.into());
    if let Value::Object(schema) = schema {
        members.extend(schema);
    }
    Value::Object(members)
}
