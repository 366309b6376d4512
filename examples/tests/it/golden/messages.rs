use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use fmnist_core::{Image, transport::Outbound};
use serde_json::{Value, json};

/// What it is, and the message.
pub(super) type Sent = (&'static str, Outbound);

/// What the pixel in the middle says where the model fails, or gives a probability that is none.
pub(super) const FAILS: u8 = 250;
pub(super) const NOT_FINITE: u8 = 251;

pub(super) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const RANGE: &str = r#"{"start_idx": 3, "end_idx": 5}"#;
const RESULT: &str = r#"{"schema":1,"id":"7","source":{},"model":{"name":"base"},"start_idx":3,"end_idx":5,"predictions":[]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");
const TYPED: (&str, &str) = ("content-type", "Application/JSON; charset=utf-8");
const TEXT: (&str, &str) = ("content-type", "text/plain");
const JPEG: (&str, &str) = ("content-type", "image/jpeg");
const RAW: (&str, &str) = ("content-type", "application/octet-stream");
const EVENT: (&str, &str) = ("content-type", "application/cloudevents+json; charset=UTF-8");

/// `picture(17)`, and 8×8 pixels of one grey: files of their own, because encoders may change.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAGElEQVR42mNgGILgBBoY7pKCw9yfQwQAAC4vx0rAlipVAAAAAElFTkSuQmCC";
const GREY_JPEG: &str = "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z";

/// What the model looks at.
pub(super) fn seen(image: &Image) -> u8 {
    image.pixels()[14 * Image::WIDTH + 14]
}

/// A square with a pixel in the middle for the model to see.
pub(super) fn picture(middle: u8) -> Image {
    Image::from_fn(|row, column| match (row, column) {
        (14, 14) => middle,
        (6..22, 6..22) => 200,
        _ => 0,
    })
}

fn raw(middles: &[u8]) -> Vec<u8> {
    middles.iter().flat_map(|&middle| *picture(middle).pixels()).collect()
}

fn decoded(base64: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(base64).unwrap()
}

fn with(headers: &[(&str, &str)], payload: impl Into<Vec<u8>>) -> Outbound {
    let attributes = headers.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    Outbound { attributes, payload: payload.into().into(), ..Outbound::default() }
}

fn plain(payload: impl Into<Vec<u8>>) -> Outbound {
    with(&[], payload)
}

fn keyed(key: impl Into<Bytes>, message: Outbound) -> Outbound {
    Outbound { key: Some(key.into()), ..message }
}

fn tensor(shape: &Value, datatype: &str, data: &Value) -> Outbound {
    let input = json!({ "name": "image", "shape": shape, "datatype": datatype, "data": data });
    let outputs = json!([{ "name": "class" }]);
    plain(json!({ "id": "own-id", "inputs": [input], "outputs": outputs }).to_string())
}

fn event(members: &str) -> Outbound {
    let envelope = r#""specversion":"1.0","type":"t","source":"/shop","id":"own-id""#;
    with(&[EVENT], format!("{{{envelope},{members}}}"))
}

/// Headers are in the order of their names and have one value each, as on Pub/Sub.
pub(super) fn common() -> Vec<Sent> {
    let binary = [("ce_id", "own-id"), ("ce_source", "/shop"), ("ce_specversion", "1.0")];
    let traced = [binary.as_slice(), &[("traceparent", TRACE), ("tracestate", "a=1")]].concat();
    let old = [("end_idx", "5"), ("start_idx", "3")];
    let pixels = picture(17);
    let rows: Vec<&[u8]> = pixels.pixels().chunks(Image::WIDTH).collect();
    let fifths = |&pixel: &u8| if pixel > 100 { 0.2 } else { 0.0 };
    let floats: Vec<f64> = [*pixels.pixels(); 2].iter().flatten().map(fifths).collect();
    let utf_16: Vec<u8> = RANGE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let png_event = format!(r#""datacontenttype":"image/png","data_base64":"{PNG}""#);
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28][..], &raw(&[1])].concat();
    let spaced = "\n {\"end_idx\": 9, \"more\": [1, {}], \"start_idx\": 7} ";
    let floats = tensor(&json!([2, 1, 28, 28]), "FP32", &json!(floats)).payload;
    let bright = tensor(&json!([2, 784]), "UINT8", &json!(vec![256; 1_568]));
    vec![
        ("the old Kafka producer's range", plain(RANGE)),
        ("the old Pub/Sub producer's range", with(&old, "pubsub - model inference")),
        ("a typed range with a key and more members", keyed("shop-7", with(&[TYPED], spaced))),
        ("a range behind a byte-order mark", plain(format!("\u{feff}{RANGE}"))),
        (
            "a range whose result is in parts",
            keyed("shop-7", plain(r#"{"start_idx": 10, "end_idx": 30}"#)),
        ),
        ("a range that was dead-lettered twice", with(&[("fmnist.redrives", "2")], RANGE)),
        ("raw pixels", plain(raw(&[3]))),
        ("typed raw pixels of three images with a key", keyed("8", with(&[RAW], raw(&[4, 5, 6])))),
        ("raw pixels of a blank image", plain([0; Image::PIXELS])),
        ("a PNG file", plain(decoded(PNG))),
        ("a JPEG file with nothing to see", with(&[JPEG], decoded(GREY_JPEG))),
        ("a tensor of bytes in rows", tensor(&json!([1, 28, 28]), "UINT8", &json!([rows]))),
        ("a typed tensor of floats, not nested", with(&[JSON], floats)),
        ("a binary event in a trace", with(&traced, RANGE)),
        ("a binary event of raw pixels", with(&[("ce-specversion", "1.0"), RAW], raw(&[8]))),
        ("a structured event of an object", event(&format!(r#""data":{RANGE}"#))),
        ("a structured event of a text", event(&format!(r#""data":{}"#, json!(RANGE)))),
        ("a structured event of a PNG file", keyed("shop-7", event(&png_event))),
        ("nothing", plain("")),
        ("text", plain("hello")),
        ("an object that is cut short", keyed("shop-7", plain(r#"{"start_idx": 0,"#))),
        ("JSON that is no object", with(&[JSON], "[0, 5]")),
        ("lists of indices", plain(r#"{"start_idx": [0, 5], "end_idx": [5, 9]}"#)),
        ("a range beyond the test set", plain(r#"{"start_idx": 30, "end_idx": 41}"#)),
        ("a range from below", with(&[("end_idx", "5"), ("start_idx", "-1")], "")),
        ("half a range", with(&[("start_idx", "0")], RANGE)),
        ("a range and a tensor", plain(r#"{"start_idx": 0, "end_idx": 5, "inputs": []}"#)),
        ("a tensor of another shape", tensor(&json!([28, 28]), "UINT8", &json!([]))),
        ("a tensor of too many images", tensor(&json!([10_001, 784]), "UINT8", &json!([]))),
        ("a tensor too bright, and too large for the dead letters", keyed("shop-7", bright)),
        ("raw pixels and one more", with(&[RAW], [1; Image::PIXELS + 1])),
        ("a file of the data set", plain(idx)),
        ("a frame of a schema registry", plain(b"\0\0\0\0\x07\x02".as_slice())),
        ("UTF-16", plain([b"\xff\xfe".as_slice(), &utf_16].concat())),
        ("a type that is not taken, in a trace", with(&[TEXT, ("traceparent", TRACE)], RANGE)),
        ("no picture", with(&[JPEG], RANGE)),
        ("a picture that is cut short", plain(&decoded(PNG)[..40])),
        ("an event of another version", with(&[("ce_specversion", "0.3")], RANGE)),
        ("an event without data", event(r#""subject":"none""#)),
        ("a result of this project's", keyed("shop-7", with(&[JSON], RESULT))),
        ("a result of this project's as a range", with(&old, RESULT)),
        ("an image that the model fails on", plain(raw(&[1, FAILS, 2]))),
        ("an image of which the model says nothing finite", plain(raw(&[NOT_FINITE]))),
    ]
}

/// What Pub/Sub can't carry.
pub(super) fn kafkas_own() -> Vec<Sent> {
    let odd = |payload: &str| {
        let theirs = [("again", "1"), ("__connect.errors.topic", "orders"), ("again", "2")];
        let mut message = keyed(b"\xc3\x28".as_slice(), with(&theirs, payload));
        message.attributes.push_null("nothing");
        message.attributes.push("bytes", b"\xff\0\n".as_slice());
        message.attributes.push_raw(b"caf\xe9", Some("7".into()));
        message
    };
    let long = [("content-type", &*"é".repeat(600))];
    vec![
        ("a range with an odd key and odd headers", odd(RANGE)),
        ("the same without sense", odd("?")),
        ("a key that no result has room for", keyed("k".repeat(3_000), plain(RANGE))),
        ("a type so long that its reason is cut", with(&long, RANGE)),
    ]
}
