//! Every form of request, what is tried first where a message fits two, and what is refused.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MAX_IMAGES, Request, decode};
use crate::{
    image::{self, Image},
    transport::{Attributes, Rejection, Stage},
};

const TEST_IMAGES: usize = 10_000;

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|&(name, value)| (name, value.to_owned())).collect()
}

fn read(pairs: &[(&str, &str)], payload: impl Into<Vec<u8>>) -> Result<Request, Rejection> {
    decode(&attributes(pairs), &Bytes::from(payload.into()), TEST_IMAGES)
}

fn typed(content_type: &str, payload: impl Into<Vec<u8>>) -> Result<Request, Rejection> {
    read(&[("content-type", content_type)], payload)
}

fn event(members: &Value) -> Result<Request, Rejection> {
    let mut event = json!({"specversion": "1.0", "type": "t", "source": "/s", "id": "1"});
    for (name, value) in members.as_object().expect("members") {
        event[name] = value.clone();
    }
    typed("Application/CloudEvents+JSON; charset=UTF-8", event.to_string())
}

fn rejected(result: Result<Request, Rejection>, stage: Stage, part_of_reason: &str) {
    let rejection = result.expect_err(part_of_reason);
    assert_eq!(rejection.stage, stage, "{}", rejection.reason);
    assert!(rejection.reason.contains(part_of_reason), "{}", rejection.reason);
}

fn oip(input: Value) -> Result<Request, Rejection> {
    read(&[], json!({"id": "7", "inputs": [input]}).to_string())
}

fn png() -> Vec<u8> {
    let photo = ::image::GrayImage::from_fn(60, 40, |x, y| {
        let garment = (20..40).contains(&x) && (5..35).contains(&y);
        ::image::Luma([if garment { 40 + x as u8 } else { 255 }])
    });
    let mut png = Cursor::new(Vec::new());
    photo.write_to(&mut png, ::image::ImageFormat::Png).expect("a picture in memory");
    png.into_inner()
}

fn grey(pixel: u8) -> Image {
    Image::new([pixel; Image::PIXELS])
}

const RANGE: &str = r#"{"start_idx": 0, "end_idx": 5}"#;
const ZERO_TO_FIVE: Result<Request, Rejection> = Ok(Request::Range { start: 0, end: 5 });

#[test]
fn the_old_kafka_producers_message_is_a_range() {
    assert_eq!(read(&[], RANGE), ZERO_TO_FIVE);
}

#[test]
fn the_old_pubsub_producers_message_is_a_range() {
    let old = [("start_idx", "0"), ("end_idx", "5")];
    assert_eq!(read(&old, "pubsub - model inference"), ZERO_TO_FIVE);
}

#[test]
fn json_may_be_named_and_padded() {
    assert_eq!(typed("application/json", RANGE), ZERO_TO_FIVE);
    assert_eq!(typed(" Application/JSON ; charset=utf-8", RANGE), ZERO_TO_FIVE);
    assert_eq!(read(&[("content-type", "")], format!("\r\n {RANGE} \n")), ZERO_TO_FIVE);
    let more = r#"{"end_idx": 5, "asked_by": {"shop": [1, 2]}, "start_idx": 0}"#;
    assert_eq!(read(&[], more), ZERO_TO_FIVE);
}

#[test]
fn cloud_events_are_unwrapped_in_both_modes() {
    let binary = [("ce_specversion", "1.0"), ("ce_type", "t"), ("ce_source", "/s"), ("ce_id", "1")];
    assert_eq!(read(&binary, RANGE), ZERO_TO_FIVE);
    let hyphens = [("ce-specversion", "1.0"), ("content-type", "application/json")];
    assert_eq!(read(&hyphens, RANGE), ZERO_TO_FIVE);

    let range: Value = serde_json::from_str(RANGE).expect("JSON");
    assert_eq!(event(&json!({"data": range})), ZERO_TO_FIVE);
    assert_eq!(event(&json!({"data": range, "datacontenttype": "application/json"})), ZERO_TO_FIVE);
    assert_eq!(event(&json!({"data": RANGE})), ZERO_TO_FIVE);
    assert_eq!(event(&json!({"data_base64": BASE64_STANDARD.encode(RANGE)})), ZERO_TO_FIVE);
    let raw = BASE64_STANDARD.encode(grey(7).pixels());
    assert_eq!(
        event(&json!({"data_base64": raw, "datacontenttype": "application/octet-stream"})),
        Ok(Request::Images(vec![grey(7)]))
    );
}

#[test]
fn a_picture_is_prepared_as_an_upload_is() {
    let prepared = Ok(Request::Images(vec![image::decode_upload(&png()).expect("a picture")]));
    assert_eq!(read(&[], png()), prepared);
    assert_eq!(typed("image/png", png()), prepared);
    let inside = json!({
        "data_base64": BASE64_STANDARD.encode(png()),
        "datacontenttype": "image/png"
    });
    assert_eq!(event(&inside), prepared);
}

#[test]
fn an_open_inference_tensor_may_come_in_four_shapes_nested_or_flat() {
    let images = || Ok(Request::Images(vec![grey(51), grey(51)]));
    let nested = [
        (json!([2, 1, 28, 28]), json!(vec![vec![vec![vec![51; 28]; 28]; 1]; 2])),
        (json!([2, 28, 28]), json!(vec![vec![vec![51; 28]; 28]; 2])),
        (json!([2, 28, 28, 1]), json!(vec![vec![vec![[51]; 28]; 28]; 2])),
        (json!([2, 784]), json!(vec![vec![51; 784]; 2])),
    ];
    for (shape, data) in nested {
        let input =
            |data| json!({"name": "image", "shape": shape, "datatype": "UINT8", "data": data});
        assert_eq!(oip(input(data)), images(), "{shape}");
        assert_eq!(oip(input(json!(vec![51; 2 * 784]))), images(), "{shape}");
    }
    let scaled = json!({
        "name": "image", "shape": [2, 1, 28, 28], "datatype": "FP32", "data": vec![0.2; 2 * 784]
    });
    assert_eq!(oip(scaled), images());
}

/// What a consumer answers to [`RANGE`], with other members before and behind.
const RESULT: &str = r#"{"schema": 1, "id": "7", "model": {"name": "base"}, "start_idx": 0,
    "end_idx": 5, "predictions": [], "received_at": "2026-11-24T03:55:31.123Z"}"#;

#[test]
fn a_result_is_never_answered_in_whatever_form_it_comes() {
    let refused = |result| rejected(result, Stage::Validate, "found a result");
    refused(read(&[], RESULT));
    refused(read(&[("start_idx", "0"), ("end_idx", "5")], RESULT));
    refused(read(&[("ce_specversion", "1.0")], RESULT));
    refused(typed("application/json", RESULT));
    let result: Value = serde_json::from_str(RESULT).expect("JSON");
    refused(event(&json!({"data": result})));
    refused(event(&json!({"data": RESULT})));
    refused(event(&json!({"data_base64": BASE64_STANDARD.encode(RESULT)})));
    let mut with_inputs = result.clone();
    with_inputs["inputs"] = json!([]);
    refused(read(&[], with_inputs.to_string()));
    // One of the three alone is a member that a request may have.
    for name in ["schema", "model", "predictions"] {
        let mut request: Value = serde_json::from_str(RANGE).expect("JSON");
        request[name] = result[name].clone();
        assert_eq!(read(&[], request.to_string()), ZERO_TO_FIVE, "{name}");
    }
}

#[test]
fn the_answer_of_an_inference_server_is_no_request() {
    let answer = json!({"model_name": "base", "model_version": "1.0", "outputs": []});
    rejected(read(&[], answer.to_string()), Stage::Decode, "found none of them");
}

#[test]
fn a_reason_that_quotes_a_long_header_fits_into_a_header_itself() {
    let refused = typed(&"é".repeat(5_000), RANGE).expect_err("no such type");
    assert!((990..=1_000).contains(&refused.reason.len()), "{}", refused.reason.len());
    assert!(refused.reason.starts_with("expected content type") && refused.reason.ends_with('…'));
}

#[test]
fn a_tensor_that_does_not_fit_is_refused_with_what_was_expected() {
    let input = |shape: Value, datatype: &str, data: Value| {
        oip(json!({"name": "image", "shape": shape, "datatype": datatype, "data": data}))
    };
    let flat = || json!(vec![0; 784]);
    rejected(input(json!([28, 28]), "UINT8", flat()), Stage::Validate, "found [28, 28]");
    rejected(input(json!([0, 784]), "UINT8", json!([])), Stage::Validate, "found [0, 784]");
    rejected(input(json!([1, 784]), "INT64", flat()), Stage::Validate, "found \"INT64\"");
    rejected(input(json!([2, 784]), "UINT8", flat()), Stage::Decode, "lists of [784]");
    rejected(input(json!([-1, 784]), "UINT8", flat()), Stage::Decode, "-1");
    let count = MAX_IMAGES + 1;
    rejected(input(json!([count, 784]), "UINT8", flat()), Stage::Validate, "at most 10000 images");

    let with = |datatype, pixel| input(json!([1, 784]), datatype, json!(vec![pixel; 784]));
    rejected(with("UINT8", json!(256)), Stage::Validate, "UINT8 pixels in 0–255, found 256");
    rejected(with("UINT8", json!(0.5)), Stage::Validate, "found 0.5");
    rejected(with("FP32", json!(17)), Stage::Validate, "0.0–1.0 (pixel / 255), found 17");
    rejected(with("FP32", json!(-0.1)), Stage::Validate, "found -0.1");
    rejected(with("FP32", json!(1e300)), Stage::Validate, "found inf");
    rejected(with("FP32", json!("0")), Stage::Decode, "expected numbers as data");

    let ragged = json!([vec![0; 28], vec![0; 27]]);
    rejected(input(json!([1, 28, 28]), "UINT8", ragged), Stage::Decode, "found 28 and 27");
    rejected(input(json!([1, 784]), "UINT8", json!([[0], 1])), Stage::Decode, "equal depth");
    rejected(input(json!([1, 784]), "UINT8", json!([0, [1]])), Stage::Decode, "a list among");
    rejected(input(json!([1, 784]), "UINT8", json!(5)), Stage::Decode, "a list of numbers");

    let other = json!({"name": "input_1", "shape": [1, 784], "datatype": "FP32", "data": [0.0]});
    rejected(oip(other), Stage::Validate, "expected input image, found \"input_1\"");
    let none = json!({"name": "image", "shape": [1, 784], "datatype": "FP32"});
    rejected(oip(none), Stage::Decode, "no data");
    rejected(read(&[], r#"{"inputs": []}"#), Stage::Validate, "expected one input");
}

#[test]
fn a_content_type_decides_before_the_attributes_of_a_range() {
    let range = [("start_idx", "0"), ("end_idx", "5"), ("content-type", "application/json")];
    let other = r#"{"start_idx": 7, "end_idx": 9}"#;
    assert_eq!(read(&range, other), Ok(Request::Range { start: 7, end: 9 }));
    rejected(read(&range, "pubsub - model inference"), Stage::Decode, "expected a JSON object");
}

#[test]
fn the_attributes_of_a_range_decide_before_the_payload() {
    let range = [("start_idx", "0"), ("end_idx", "5")];
    assert_eq!(read(&range, png()), ZERO_TO_FIVE);
    assert_eq!(read(&range, *grey(0).pixels()), ZERO_TO_FIVE);
    rejected(read(&[("start_idx", "0")], RANGE), Stage::Decode, "attribute end_idx is missing");
}

#[test]
fn a_picture_decides_before_raw_pixels_of_the_same_length() {
    let mut cut = png();
    cut.truncate(20);
    cut.resize(Image::PIXELS, 0);
    let rejection = read(&[], cut).expect_err("the beginning of a picture");
    assert_eq!(rejection.stage, Stage::Decode, "{}", rejection.reason);
}

#[test]
fn a_complete_object_decides_before_raw_pixels_of_the_same_length() {
    assert_eq!(read(&[], format!("{RANGE:784}")), ZERO_TO_FIVE);
    let text = format!("{:784}", r#"{"start_idx": "0", "end_idx": 5}"#);
    rejected(read(&[], text), Stage::Decode, "expected start_idx as an integer, found \"0\"");
    let twice = format!("{:784}", r#"{"start_idx": 0, "start_idx": 1, "end_idx": 5}"#);
    rejected(read(&[], twice), Stage::Decode, "duplicate field `start_idx`");

    let open = format!("{:784}", r#"{"start_idx": 0, "end_idx": 5"#).into_bytes();
    let pixels = Image::new(open.clone().try_into().expect("784 bytes"));
    assert_eq!(read(&[], open), Ok(Request::Images(vec![pixels])));
}

#[test]
fn only_raw_pixels_may_begin_as_a_schema_registry_frame() {
    let mut raw = [0; Image::PIXELS];
    raw[4] = 7;
    assert_eq!(read(&[], raw), Ok(Request::Images(vec![Image::new(raw)])));
    let frame = [b"\0\0\0\0\x07", RANGE.as_bytes()].concat();
    rejected(read(&[], frame.clone()), Stage::Decode, "Schema-Registry frames are not configured");
    rejected(typed("application/json", frame), Stage::Decode, "one of schema id 7");
}

#[test]
fn a_range_and_a_tensor_in_one_object_are_refused() {
    let both = r#"{"inputs": [], "start_idx": 0}"#;
    rejected(read(&[], both), Stage::Decode, "inputs or a range, found both");
    rejected(read(&[], "{}"), Stage::Decode, "start_idx and end_idx, or inputs");
}

#[test]
fn ranges_outside_the_test_set_are_refused_at_validation() {
    for range in
        ["-1, \"end_idx\": 5", "5, \"end_idx\": 5", "6, \"end_idx\": 5", "0, \"end_idx\": 10001"]
    {
        let expected = "expected 0 <= start_idx < end_idx <= 10000";
        rejected(read(&[], format!("{{\"start_idx\": {range}}}")), Stage::Validate, expected);
    }
    let negative = [("start_idx", "-1"), ("end_idx", "5")];
    rejected(read(&negative, ""), Stage::Validate, "found start_idx -1 and end_idx 5");
}

#[test]
fn what_is_nothing_known_is_refused_with_its_beginning() {
    rejected(read(&[], ""), Stage::Decode, "the payload is empty");
    rejected(read(&[], "hello"), Stage::Decode, "found 5 bytes: \"hello\"");
    rejected(
        read(&[], "{\"start_idx\": 0,"),
        Stage::Decode,
        "expected a complete JSON object: EOF",
    );
    rejected(read(&[], "[0, 5]"), Stage::Decode, "found 6 bytes");
    rejected(read(&[], [1; 785]), Stage::Decode, "found 785 bytes");
    rejected(typed("application/json", "[0, 5]"), Stage::Decode, "JSON, but not an object");
    rejected(typed("application/octet-stream", [1; 785]), Stage::Decode, "found 785");
    rejected(typed("application/octet-stream", ""), Stage::Decode, "found 0");
    rejected(typed("image/png", RANGE), Stage::Decode, "");
    rejected(typed("text/plain", RANGE), Stage::Decode, "found \"text/plain\"");
}

#[test]
fn a_cloud_event_that_is_none_is_refused() {
    rejected(read(&[("ce_specversion", "0.3")], RANGE), Stage::Decode, "found \"0.3\"");
    rejected(event(&json!({"specversion": "2.0"})), Stage::Decode, "found \"2.0\"");
    rejected(event(&json!({})), Stage::Decode, "neither data nor data_base64");
    let both = json!({"data": {}, "data_base64": ""});
    rejected(event(&both), Stage::Decode, "both data and data_base64");
    rejected(event(&json!({"data_base64": "!"})), Stage::Decode, "data_base64");
    rejected(event(&json!({"data": 5})), Stage::Decode, "an object or a string as data");
    let picture = json!({"data": {"start_idx": 0, "end_idx": 5}, "datacontenttype": "image/png"});
    rejected(event(&picture), Stage::Decode, "datacontenttype is \"image/png\"");
    let nested = json!({"data": "{}", "datacontenttype": "application/cloudevents+json"});
    rejected(event(&nested), Stage::Decode, "found \"application/cloudevents+json\"");
    let batch = typed("application/cloudevents-batch+json", "[]");
    rejected(batch, Stage::Decode, "expected application/cloudevents+json");
}

#[test]
fn too_many_raw_images_are_refused_before_they_are_copied() {
    let payload = vec![0; (MAX_IMAGES + 1) * Image::PIXELS];
    rejected(read(&[], payload), Stage::Validate, "at most 10000 images in a message, found 10001");
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let name = prop::sample::select(vec![
        "content-type",
        "Content-Type",
        "ce_specversion",
        "ce-specversion",
        "start_idx",
        "end_idx",
        "x",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "application/json",
            "application/octet-stream",
            "image/png",
            "application/cloudevents+json",
            "1.0",
            "0",
            "5",
            "",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec((name, value), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"start_idx\"",
        "\"end_idx\"",
        "\"inputs\"",
        "\"data\"",
        "\"name\"",
        "\"image\"",
        "\"shape\"",
        "\"datatype\"",
        "\"FP32\"",
        "\"data_base64\"",
        "\"specversion\"",
        "\"1.0\"",
        "0",
        "5",
        "-1",
        "1e400",
        "null",
        "\"\\ud800\"",
        "[1,784]",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(any::<u8>(), Image::PIXELS),
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        (0..400_usize).prop_map(|cut| png()[..cut.min(png().len())].to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_a_valid_request_or_a_rejection(
        attributes in any_attributes(),
        payload in any_payload(),
    ) {
        match decode(&attributes, &payload.into(), 5) {
            Ok(Request::Range { start, end }) => prop_assert!(start < end && end <= 5),
            Ok(Request::Images(images)) => prop_assert!((1..=MAX_IMAGES).contains(&images.len())),
            Err(Rejection { stage, reason }) => {
                prop_assert!(matches!(stage, Stage::Decode | Stage::Validate));
                prop_assert!((1..1000).contains(&reason.len()), "{reason}");
            }
        }
    }

    #[test]
    fn every_range_reads_the_same_in_every_form(start in 0..9_999_usize, length in 1..10_000_usize) {
        let end = (start + length).min(TEST_IMAGES);
        let expected = Ok(Request::Range { start, end });
        let object = json!({"start_idx": start, "end_idx": end});
        prop_assert_eq!(read(&[], object.to_string()), expected.clone());
        prop_assert_eq!(typed("application/json", object.to_string()), expected.clone());
        prop_assert_eq!(event(&json!({"data": object})), expected.clone());
        let (start, end) = (start.to_string(), end.to_string());
        prop_assert_eq!(read(&[("start_idx", &*start), ("end_idx", &*end)], ""), expected);
    }

    #[test]
    fn every_image_reads_the_same_in_every_form(
        pixels in prop::collection::vec(any::<u8>(), Image::PIXELS),
    ) {
        // The magic bytes of a picture are decided before raw pixels.
        prop_assume!(!image::is_picture(&pixels));
        let image = Image::new(pixels.clone().try_into().expect("784 bytes"));
        let expected = Ok(Request::Images(vec![image]));
        prop_assert_eq!(read(&[], pixels.clone()), expected.clone());
        prop_assert_eq!(typed("application/octet-stream", pixels.clone()), expected.clone());
        let encoded = json!({"data_base64": BASE64_STANDARD.encode(&pixels)});
        prop_assert_eq!(event(&encoded), expected.clone());
        let scaled: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        for (datatype, data) in [("UINT8", json!(pixels)), ("FP32", json!(scaled))] {
            let input = json!({
                "name": "image", "shape": [1, 1, 28, 28], "datatype": datatype, "data": data
            });
            prop_assert_eq!(oip(input), expected.clone());
        }
    }
}

#[test]
fn a_byte_order_mark_before_json_is_no_part_of_it() {
    let range = Request::Range { start: 3, end: 8 };
    let json = "\u{feff}{\"start_idx\": 3, \"end_idx\": 8}";
    assert_eq!(read(&[], json), Ok(range.clone()));
    assert_eq!(typed("application/json", json), Ok(range.clone()));
    let text = json!({"specversion": "1.0", "data": json}).to_string();
    let event = format!("\u{feff}{text}");
    assert_eq!(typed("application/cloudevents+json", event), Ok(range));

    let utf_16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for result in [
        read(&[], utf_16.clone()),
        typed("application/json", utf_16.clone()),
        typed("application/cloudevents+json", utf_16),
    ] {
        rejected(result, Stage::Decode, "expected UTF-8, found UTF-16 by its byte-order mark");
    }
}

#[test]
fn raw_pixels_that_begin_as_a_mark_does_are_pixels() {
    let mut pixels = [7; Image::PIXELS];
    pixels[..3].copy_from_slice(&[0xef, 0xbb, 0xbf]);
    assert_eq!(read(&[], pixels), Ok(Request::Images(vec![Image::new(pixels)])));
    pixels[..2].copy_from_slice(&[0xff, 0xfe]);
    assert_eq!(read(&[], pixels), Ok(Request::Images(vec![Image::new(pixels)])));
}
