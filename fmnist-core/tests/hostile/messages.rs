use bytes::Bytes;
use fmnist_core::{
    Image,
    message::{MAX_IMAGES, Request, decode},
    transport::{Attributes, Stage},
};
use rand::RngExt;

use crate::{Alone, MIB, mutation::damaged};

const TEST_IMAGES: usize = 10_000;

fn typed(content_type: &'static str) -> Attributes {
    [("content-type", content_type)].into_iter().collect()
}

/// Refused at Decode, for a fixed multiple of the payload and a little.
fn assert_refused(alone: &Alone, attributes: &Attributes, payload: impl Into<Bytes>) {
    let payload = payload.into();
    let (found, peak) = alone.measured(|| decode(attributes, &payload, TEST_IMAGES));
    let rejection = found.expect_err("refused");
    assert_eq!(rejection.stage, Stage::Decode, "{}", rejection.reason);
    assert!(peak <= 2 * payload.len() + MIB, "{peak} bytes for {} bytes", payload.len());
    assert!(rejection.reason.len() < 2_000, "a reason of {} bytes", rejection.reason.len());
}

#[test]
fn json_of_any_depth_is_refused_within_the_stack() {
    let alone = Alone::wait();
    const DEPTH: usize = 1_000_000;
    let deep = "[".repeat(DEPTH);
    let objects = "{\"a\":".repeat(DEPTH);
    for attributes in [Attributes::new(), typed("application/json")] {
        assert_refused(&alone, &attributes, deep.clone());
        assert_refused(&alone, &attributes, objects.clone());
        assert_refused(&alone, &attributes, format!("{{\"start_idx\": {deep}"));
        assert_refused(&alone, &attributes, format!("{{\"ignored\": {deep}"));
        let data = format!(
            r#"{{"inputs": [{{"name": "image", "shape": [1], "datatype": "FP32", "data": {deep}"#
        );
        assert_refused(&alone, &attributes, data);
    }
    let event = typed("application/cloudevents+json");
    assert_refused(&alone, &event, format!(r#"{{"specversion": "1.0", "data": {objects}"#));
}

#[test]
fn a_list_where_a_number_or_a_short_list_belongs_costs_no_more_than_its_text() {
    let alone = Alone::wait();
    let list = format!("[{}0]", "0,".repeat(500_000));
    let input = r#"{"name": "", "shape": [], "datatype": ""},"#.repeat(20_000);
    for text in [
        format!(r#"{{"start_idx": {list}, "end_idx": 5}}"#),
        format!(r#"{{"start_idx": 0, "end_idx": {{"a": {list}}}}}"#),
        format!(r#"{{"start_idx": "{list}", "end_idx": 5}}"#),
        format!(r#"{{"inputs": [{{"name": "image", "datatype": "FP32", "shape": {list}}}]}}"#),
        format!(r#"{{"inputs": [{input} {{}}]}}"#),
    ] {
        for attributes in [Attributes::new(), typed("application/json")] {
            assert_refused(&alone, &attributes, text.clone());
        }
    }
}

#[test]
fn a_shape_of_more_than_there_is_costs_nothing() {
    let alone = Alone::wait();
    for shape in ["4294967295, 1, 28, 28", "18446744073709551615, 28, 28", "9223372036854775807, 2"]
    {
        let request = format!(
            r#"{{"inputs": [{{"name": "image", "shape": [{shape}], "datatype": "FP32", "data": [0]}}]}}"#
        );
        let payload = Bytes::from(request);
        let (found, peak) = alone.measured(|| decode(&Attributes::new(), &payload, TEST_IMAGES));
        assert!(found.is_err(), "{shape}");
        assert!(peak <= MIB, "{peak} bytes");
    }
}

#[test]
fn more_images_than_a_message_may_carry_are_refused_before_they_are_copied() {
    let alone = Alone::wait();
    let payload = Bytes::from(vec![7; (MAX_IMAGES + 1) * Image::PIXELS]);
    let (found, peak) = alone.measured(|| decode(&Attributes::new(), &payload, TEST_IMAGES));
    assert_eq!(found.expect_err("refused").stage, Stage::Validate);
    assert!(peak <= MIB, "{peak} bytes");
}

#[test]
fn damaged_messages_are_answered_or_refused() {
    let alone = Alone::wait();
    let pixels = vec!["0.5"; Image::PIXELS].join(",");
    let seeds = [
        br#"{"start_idx": 0, "end_idx": 5}"#.to_vec(),
        format!(
            r#"{{"id": "7", "inputs": [{{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [{pixels}]}}]}}"#
        )
        .into_bytes(),
        br#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "datacontenttype": "application/json", "data": {"start_idx": 3, "end_idx": 4}}"#.to_vec(),
        br#"{"specversion": "1.0", "datacontenttype": "application/octet-stream", "data_base64": "AAAA"}"#.to_vec(),
        Image::from_fn(|row, column| (row * column % 256) as u8).to_png(),
        vec![9; Image::PIXELS],
        b"\0\0\0\0\x2a{}".to_vec(),
    ];
    const TYPES: [&str; 6] = [
        "application/json",
        "application/cloudevents+json",
        "application/octet-stream",
        "image/png",
        "text/plain",
        "",
    ];
    let mut requests = 0;
    damaged(&seeds, 30_000, |rng, payload| {
        let mut attributes = Attributes::new();
        if rng.random_range(0..2) == 0 {
            attributes.push("content-type", TYPES[rng.random_range(0..TYPES.len())]);
        }
        if rng.random_range(0..8) == 0 {
            attributes.push("ce_specversion", payload.get(..3).unwrap_or(b"1.0").to_vec());
        }
        if rng.random_range(0..8) == 0 {
            attributes.push("start_idx", payload.get(..2).unwrap_or(b"-1").to_vec());
            attributes.push("end_idx", "5");
        }
        let payload = Bytes::from(payload);
        let (found, peak) = alone.measured(|| decode(&attributes, &payload, TEST_IMAGES));
        assert!(peak <= 64 * MIB, "{peak} bytes for {payload:?}");
        if let Ok(request) = found {
            requests += 1;
            assert!((1..=TEST_IMAGES).contains(&request.images()));
            if let Request::Range { start, end } = request {
                assert!(start < end && end <= TEST_IMAGES);
            }
        }
    });
    assert!(requests > 200, "only {requests} were still requests");
}
