//! The program as its users start it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use own_models::{Program, get, killed_in_mid_stream};
use serde_json::Value;

fn answers(lines: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_own_burn"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn points_in_the_middle_of_a_moon_are_of_its_class_and_what_is_no_reading_is_a_dead_letter() {
    // Both moons at 0°, 90° and 180°.
    let sound = [(70, 4), (60, 6), (50, 4)];
    let worn = [(60, 5), (70, 3), (80, 5)];
    let line = |(temperature, vibration): &(i32, i32)| {
        format!("{{\"temperature\":{temperature},\"vibration\":{vibration},\"at\":\"07:30\"}}\n")
    };
    let lines: Vec<_> = sound.iter().chain(&worn).map(line).collect();
    let odd = "{\"temperature\":1e39,\"vibration\":4}\n{\"temperature\":null}\n";
    let output = answers(&(lines.concat() + odd));

    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut states = Vec::new();
    for (line, result) in lines.iter().zip(stdout.lines()) {
        assert!(result.starts_with(line.trim_end_matches("}\n")), "{result}");
        let result: Value = serde_json::from_str(result).unwrap();
        let bearing = &result["bearing"];
        assert!(bearing["probability"].as_f64().unwrap() > 0.9, "{result}");
        states.push(bearing["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["sound", "sound", "sound", "worn", "worn", "worn"]);
    assert_eq!(stdout.lines().count(), lines.len());

    let stderr = String::from_utf8(output.stderr).unwrap();
    let letters: Vec<_> = stderr.lines().filter(|line| line.starts_with("dead letter ")).collect();
    let [broken, null] = letters[..] else { panic!("{stderr}") };
    let reason =
        "dead letter stdin/6 at INFER: input 0: the network answers NaN: {\"temperature\":1e39";
    assert!(broken.starts_with(reason), "{broken}");
    assert!(null.starts_with("dead letter stdin/7 at DECODE: invalid type: null"), "{null}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_stream_and_started_again_it_answers_every_message() {
    let reading = |n: usize| format!("{{\"temperature\":60,\"vibration\":6,\"at\":{n}}}");
    let program = env!("CARGO_BIN_EXE_own_burn");
    let first = killed_in_mid_stream(program, "bearings", &[], reading).await;
    let first = std::str::from_utf8(&first.payload).unwrap();
    let judged = "{\"temperature\":60,\"vibration\":6,\"at\":1,\"bearing\":{\"state\":\"sound\",";
    assert!(first.starts_with(judged), "{first}");
}

#[test]
fn readings_that_are_not_those_of_the_training_data_are_told_as_drift() {
    let port = [("BEARINGS_SERVER__HEALTH_PORT", "0")];
    let mut program = Program::start_with(env!("CARGO_BIN_EXE_own_burn"), &[], &port);
    let line = program.says("probes and metrics on http://");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    // Twenty degrees above all that was learned; stdout takes a thousand of them.
    program.send(&"{\"temperature\":100,\"vibration\":4}\n".repeat(1_000));
    let told = || -> Value {
        let answer = get(&address, "/model");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while told()["drift"]["inputs"] != 1_000 {
        assert!(std::time::Instant::now() < deadline, "{}", told());
        std::thread::yield_now();
    }
    let drift = &told()["drift"];
    assert_eq!((&drift["verdict"], &drift["unusual"]), (&"large".into(), &1.0.into()));
    assert!(drift["indexes"]["temperature"].as_f64().unwrap() > 0.2, "{drift}");
    assert_eq!(program.answer("").code, Some(0));
}
