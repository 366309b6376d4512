//! The guide's lines, run.

use std::{fs, process::Command};

use pubsub_fake::FakePubSub;
use test_kit::{Program, example};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_for_the_emulator_start_a_consumer_that_answers_what_they_publish() {
    let server = FakePubSub::start().await.unwrap();
    let endpoint = format!("http://{}", server.address());
    let host = endpoint.strip_prefix("http://").unwrap();
    let guide = fs::read_to_string(format!("{ROOT}/docs/guide.md")).unwrap();
    let (_, lines) = guide.split_once("export PUBSUB_EMULATOR_HOST=127.0.0.1:8085").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let program = example("pubsub_consumer").get_program().to_string_lossy().into_owned();
    let lines = lines.replace("cargo run --release --example pubsub_consumer --", &program);
    assert!(lines.contains(&program), "{lines}");
    // The consumer is in the background, and ends with the shell.
    let script = format!("export PUBSUB_EMULATOR_HOST={host}{lines}trap 'kill $!' TERM; wait");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(ROOT).env("RUST_LOG", "warn");
    tokio::task::block_in_place(|| {
        let mut shell = Program::start(&mut shell);
        while !shell.printed().contains("Model Inference") {}
        shell.end("-TERM");
    });
}
