use serde::{Deserialize, Serialize};

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    predict::ModelIdentity,
    transport::{Attributes, Outbound, Rejection, Settlement, Source, Stage},
};

#[derive(Debug, Deserialize)]
struct Payment {
    #[expect(dead_code, reason = "what is read is enough")]
    amount: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Risk {
    score: f32,
}

const SCORE: Risk = Risk { score: 0.25 };

fn source() -> Source {
    Source {
        transport: "kafka".into(),
        topic: "PAYMENTS".into(),
        partition: Some(3),
        offset: Some(1042),
        message_id: None,
    }
}

fn headers(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Reads a message, gives `output` for each of its inputs and encodes the result.
fn through<C: Codec>(
    codec: &C,
    attributes: &Attributes,
    payload: &[u8],
    output: impl Fn(C::Input) -> C::Output,
) -> Result<Vec<Outbound>, Rejection> {
    let (source, payload) = (source(), Bytes::copy_from_slice(payload));
    let message = Message::new("PAYMENTS/3/1042", &source, attributes, &payload);
    let Request { inputs, context, .. } = codec.decode(message)?;
    let model = Arc::new(ModelIdentity {
        name: "fraud".to_owned(),
        version: "3".to_owned(),
        sha256: "0".repeat(64),
    });
    let at = |text: &str| text.parse().expect("a time");
    let record = codec.record(Answer {
        id: "PAYMENTS/3/1042",
        source: &source,
        context,
        outputs: inputs.map(output).collect(),
        model: &model,
        received_at: at("2026-11-24T03:55:31.1239Z"),
        inferred_at: at("2026-11-24T03:55:32Z"),
    })?;
    codec.encode(&record, Some(&Bytes::from_static(b"shop-7")))
}

fn risk<C: Codec<Input = Payment, Output = Risk>>(
    codec: &C,
    payload: &str,
) -> Result<Vec<Outbound>, Rejection> {
    through(codec, &Attributes::new(), payload.as_bytes(), |_| SCORE)
}

fn text(message: &Outbound) -> &str {
    std::str::from_utf8(&message.payload).expect("text")
}

#[test]
fn a_json_object_is_answered_with_a_record_whose_headers_say_id_and_model() {
    let results = risk(&Json::new(), r#"{"amount": 12.50, "country": "AT"}"#).expect("answered");
    let [result] = &results[..] else { panic!("{results:?}") };
    assert_eq!(
        text(result),
        concat!(
            r#"{"schema":1,"id":"PAYMENTS/3/1042","#,
            r#""source":{"transport":"kafka","topic":"PAYMENTS","partition":3,"offset":1042},"#,
            r#""model":{"name":"fraud","version":"3","sha256":"#,
            r#""0000000000000000000000000000000000000000000000000000000000000000"},"#,
            r#""predictions":[{"score":0.25}],"#,
            r#""received_at":"2026-11-24T03:55:31.123Z","inferred_at":"2026-11-24T03:55:32.000Z"}"#,
        )
    );
    let record: Record<Risk> = serde_json::from_slice(&result.payload).expect("a record");
    assert_eq!(record.predictions, [SCORE]);
    assert_eq!(result.key.as_deref(), Some(&b"shop-7"[..]));
    let header = |name| result.attributes.text(name);
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!((header("id"), header("model")), (Some("PAYMENTS/3/1042"), Some("fraud 3")));
}

#[test]
fn what_is_not_the_expected_json_is_refused_with_the_reason() {
    for (payload, stage, reason) in [
        ("", Stage::Decode, "the payload is empty"),
        ("{\"amount\": ", Stage::Decode, "EOF while parsing a value at line 1 column 11"),
        ("{\"amount\": \"x\"}", Stage::Decode, "invalid type: string \"x\", expected f32"),
        ("{}", Stage::Decode, "missing field `amount`"),
        ("{\"amount\": 1, \"amount\": 2}", Stage::Decode, "duplicate field `amount`"),
        ("{\"amount\": 1} x", Stage::Decode, "trailing characters"),
        ("\u{feff}[]x", Stage::Decode, "invalid length 0"),
    ] {
        let refused = risk(&Json::new(), payload).expect_err(payload);
        assert_eq!(refused.stage, stage, "{payload}");
        assert!(refused.reason.contains(reason), "{payload}: {}", refused.reason);
    }
    let results = risk(&Json::new(), "{\"amount\": 1}").expect("answered");
    for codec in [Json::<Payment, Risk>::new(), Json::arrays()] {
        let again = risk(&codec, text(&results[0])).expect_err("a result");
        assert_eq!(again.stage, Stage::Validate);
        assert!(again.reason.contains("found a result"), "{}", again.reason);
    }
    // The words alone make no result.
    let payload = r#"{"amount": 1, "note": "\"predictions\""}"#;
    assert!(risk(&Json::new(), payload).is_ok());
}

#[test]
fn an_array_is_as_many_inputs_as_it_has_elements_up_to_a_bound() {
    let codec = Json::<Payment, Risk>::arrays();
    let results = risk(&codec, r#"[{"amount": 1}, {"amount": 2}]"#).expect("answered");
    let record: Record<Risk> = serde_json::from_slice(&results[0].payload).expect("a record");
    assert_eq!(record.predictions, [SCORE, SCORE]);
    let many = |count: usize| format!("[{}]", vec!["{\"amount\":1}"; count].join(","));
    assert!(risk(&codec, &many(10_000)).is_ok());
    let refused = risk(&codec, &many(10_001)).expect_err("too many");
    assert_eq!(refused.stage, Stage::Decode);
    let reason = "expected at most 10000 inputs in a message";
    assert!(refused.reason.starts_with(reason), "{}", refused.reason);
}

#[test]
fn a_large_result_goes_out_in_parts_that_add_up_and_stay_below_the_limit() {
    let many = format!("[{}]", vec!["{\"amount\":1}"; 1_000].join(","));
    let codec = Json::<Payment, Risk>::arrays().with_max_result_bytes(4_096);
    let parts = risk(&codec, &many).expect("answered");
    let mut predictions = Vec::new();
    for (k, part) in (1..).zip(&parts) {
        assert!(part.size_bytes() <= 4_096, "{} bytes", part.size_bytes());
        let record: Record<Risk> = serde_json::from_slice(&part.payload).expect("a record");
        assert_eq!(record.id, format!("PAYMENTS/3/1042#{k}/{}", parts.len()));
        assert_eq!(part.attributes.text("id"), Some(&*record.id));
        predictions.extend(record.predictions);
    }
    assert!(parts.len() > 1 && predictions.len() == 1_000);
}

#[test]
fn an_enriched_object_is_the_one_that_came_with_one_member_more() {
    let codec = Json::<Payment, Risk>::enriching("risk");
    for (payload, expected) in [
        (r#"{"amount": 12.50}"#, r#"{"amount": 12.50,"risk":{"score":0.25}}"#),
        (
            " {\"b\": 1e2, \"amount\" : 1 ,\"u\": \"\\u00e9\" }\n",
            "{\"b\": 1e2, \"amount\" : 1 ,\"u\": \"\\u00e9\",\"risk\":{\"score\":0.25}}",
        ),
        ("\u{feff}{\"amount\":1}", r#"{"amount":1,"risk":{"score":0.25}}"#),
    ] {
        let results = risk(&codec, payload).expect("answered");
        assert_eq!(results.iter().map(text).collect::<Vec<_>>(), [expected]);
        assert_eq!(results[0].attributes.text("id"), Some("PAYMENTS/3/1042"));
        // Its own result is not answered again.
        let again = risk(&codec, expected).expect_err("a result");
        assert_eq!(again.stage, Stage::Validate);
        assert_eq!(again.reason, r#"the object has a member "risk" already: is it a result?"#);
    }
    let codec = Json::<serde_json::Value, Risk>::enriching("risk");
    let any = |payload: &str| through(&codec, &Attributes::new(), payload.as_bytes(), |_| SCORE);
    assert_eq!(text(&any("{ }").expect("answered")[0]), r#"{"risk":{"score":0.25}}"#);
    for (payload, reason) in
        [("[1]", "expected an object"), (r#"{"a":1,"\u0061":2}"#, r#"member "a" stands twice"#)]
    {
        let refused = any(payload).expect_err(payload);
        assert_eq!(refused.stage, Stage::Decode);
        assert!(refused.reason.contains(reason), "{payload}: {}", refused.reason);
    }
}

#[test]
fn an_output_that_is_no_json_is_refused_as_what_it_is() {
    #[derive(Serialize)]
    struct Odd(#[serde(serialize_with = "fails")] ());
    fn fails<S: serde::Serializer>(_: &(), _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no form"))
    }
    let payload = br#"{"amount":1}"#;
    let whole = through(&Json::<Payment, Odd>::new(), &headers(&[]), payload, |_| Odd(()));
    let codec = Json::<Payment, Odd>::enriching("odd");
    let enriched = through(&codec, &headers(&[]), payload, |_| Odd(()));
    for refused in [whole, enriched] {
        let Rejection { stage, reason } = refused.expect_err("no JSON");
        assert_eq!(stage, Stage::Encode);
        assert_eq!(reason, "an output can't be written as JSON: no form");
    }
}

#[test]
fn raw_bytes_go_in_and_out_untouched() {
    let codec = Raw::new().with_content_type("text/plain");
    let reversed = |input: Bytes| input.iter().rev().copied().collect();
    let results = through(&codec, &Attributes::new(), b"\x00\xff\x01", reversed).expect("answered");
    assert_eq!(results[0].payload, &b"\x01\xff\x00"[..]);
    assert_eq!(results[0].attributes.text("content-type"), Some("text/plain"));
    assert_eq!(results[0].attributes.text("model"), Some("fraud 3"));
}

#[test]
fn events_are_unwrapped_in_both_modes_and_anything_else_is_left_as_it_is() {
    let codec = CloudEvents::around(Json::<Payment, Risk>::new());
    let structured = headers(&[("content-type", "application/cloudevents+json; charset=utf-8")]);
    let binary = headers(&[("ce_specversion", "1.0"), ("ce_type", "payment")]);
    let json = r#"{"amount":1}"#;
    for (attributes, payload) in [
        (&Attributes::new(), json),
        (&binary, json),
        (&structured, r#"{"specversion":"1.0","data":{"amount":1}}"#),
        (&structured, r#"{"specversion":"1.0","data_base64":"eyJhbW91bnQiOjF9"}"#),
        (
            &structured,
            r#"{"specversion":"1.0","datacontenttype":"text/plain","data":"{\"amount\":1}"}"#,
        ),
    ] {
        let results = through(&codec, attributes, payload.as_bytes(), |_| SCORE);
        assert!(results.is_ok(), "{payload}: {results:?}");
    }
    for (attributes, payload, reason) in [
        (
            &headers(&[("ce-specversion", "2.0")]),
            json,
            "expected specversion \"1.0\", found \"2.0\"",
        ),
        (&structured, r#"{"data":{"amount":1}}"#, "expected specversion \"1.0\", found \"\""),
        (&structured, r#"{"specversion":"1.0"}"#, "neither data nor data_base64"),
        (&structured, r#"{"specversion":"1.0","data":1,"data_base64":""}"#, "both data and"),
        (&structured, r#"{"specversion":"1.0","data_base64":"?"}"#, "data_base64: Invalid"),
        (&structured, r#"{"specversion":"1.0","data":{}}"#, "missing field `amount`"),
    ] {
        let refused = through(&codec, attributes, payload.as_bytes(), |_| SCORE);
        let Rejection { stage, reason: found } = refused.expect_err(payload);
        assert_eq!(stage, Stage::Decode);
        assert!(found.contains(reason), "{payload}: {found}");
    }
}

#[tokio::test]
async fn what_a_filter_keeps_back_is_acknowledged_and_counted_and_sinks_see_it() {
    use std::sync::Mutex;

    use crate::{
        pipeline::{Answered, Pipeline, PipelineConfig, Sink, SinkError},
        predict::{PredictError, function},
        transport::memory::MemoryBroker,
    };

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<f32>>>);
    impl Sink<Record<f32>, f32> for Seen {
        async fn write(&self, results: &[Answered<Record<f32>, f32>]) -> Result<(), SinkError> {
            let outputs = results.iter().map(|result| result.record.predictions[0]);
            self.0.lock().expect("no panic").extend(outputs);
            Ok(())
        }
    }

    let broker = MemoryBroker::new("numbers");
    for number in 1..=5 {
        broker.send(Outbound { payload: number.to_string().into(), ..Outbound::default() });
    }
    let model = function(ModelIdentity::of_code("same", "1"), |batch: &[f32]| {
        Ok::<_, PredictError>(batch.to_vec())
    });
    let above_3 = |record: &Record<f32>| record.predictions[0] > 3.0;
    let codec = Filter::new(Json::<f32, f32>::new(), above_3);
    let (watched, seen) = (broker.clone(), Seen::default());
    let pipeline = Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default());
    let settled = async move {
        while watched.unsettled_messages() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let report = pipeline.with_sink(seen.clone()).run(settled).await.expect("drained");
    let expected = Settlement { published: 2, filtered: 3, ..Settlement::default() };
    assert_eq!(report.settlement, expected);
    assert_eq!((broker.results().len(), broker.dead_letters().len()), (2, 0));
    assert_eq!(*seen.0.lock().expect("no panic"), [1.0, 2.0, 3.0, 4.0, 5.0]);
}
