//! A kill in mid-stream, on librdkafka's in-process Kafka.

use std::fs;

use own_models::killed_in_mid_stream;

use crate::{COUNTRIES, OWN_FUNCTION};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_stream_and_started_again_it_answers_every_message() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let arguments = ["--countries", countries.to_str().unwrap()];
    let payment = |n: usize| format!("{{\"amount\":{n},\"country\":\"NL\",\"hour\":12}}");
    let first = killed_in_mid_stream(OWN_FUNCTION, "payments", &arguments, payment).await;
    let risk = "{\"amount\":1,\"country\":\"NL\",\"hour\":12,\"risk\":{\"score\":0.1251,\"review\":false}}";
    assert_eq!(first.payload, risk);
    assert_eq!(first.attributes.text("model"), Some("payment-risk 1"));
}
