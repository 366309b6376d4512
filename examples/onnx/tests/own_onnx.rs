//! The program as its users start it.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use own_models::{Program, killed_in_mid_stream};

#[test]
fn tract_answers_what_was_computed_by_hand_and_no_number_is_a_dead_letter() {
    answers_as_computed_by_hand(env!("CARGO_BIN_EXE_own_onnx"));
}

#[cfg(feature = "ort")]
#[test]
fn onnx_runtime_answers_what_was_computed_by_hand_and_no_number_is_a_dead_letter() {
    answers_as_computed_by_hand(env!("CARGO_BIN_EXE_own_ort"));
}

fn answers_as_computed_by_hand(program: &str) {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // relu(l + r) − 2·relu(l + r − 1)
    let expected = [
        (r#"{"left":0,"right":0"#, "0.0"),
        (r#"{"left":1,"right":0"#, "1.0"),
        (r#"{"left":0,"right":1"#, "1.0"),
        (r#"{"left":1,"right":1"#, "0.0"),
        (r#"{"left":0.25,"right":0.5"#, "0.75"),
        (r#"{"left":1,"right":0.5"#, "0.5"),
        (r#"{"left":-1,"right":0.5"#, "0.0"),
    ];
    let mut lines: String = expected.iter().map(|(doors, _)| format!("{doors}}}\n")).collect();
    lines.insert_str(0, "{\"left\":1}\n");
    lines.push_str("{\"left\":1e39,\"right\":0}\n");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();

    let result =
        |(doors, level): &(&str, &str)| format!("{doors},\"alarm\":{{\"level\":{level}}}}}\n");
    let results: String = expected.iter().map(result).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), results);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let letters: Vec<_> = stderr.lines().filter(|line| line.starts_with("dead letter ")).collect();
    let half = "missing field `right` at line 1 column 10: {\"left\":1}";
    let infinite = "the model answers NaN: {\"left\":1e39,\"right\":0}";
    assert_eq!(
        letters,
        [
            format!("dead letter stdin/0 at DECODE: {half}"),
            format!("dead letter stdin/8 at INFER: input 0: {infinite}"),
        ]
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_committed_file_is_what_its_generator_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.onnx");
    let made = Command::new(env!("CARGO_BIN_EXE_make_onnx")).arg(&path).status().unwrap();
    assert!(made.success());
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/doors.onnx");
    assert_eq!(fs::read(path).unwrap(), fs::read(committed).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_stream_and_started_again_it_answers_every_message() {
    let doors = |n: usize| format!("{{\"left\":1,\"right\":0,\"at\":{n}}}");
    let program = env!("CARGO_BIN_EXE_own_onnx");
    let first = killed_in_mid_stream(program, "doors", &[], doors).await;
    assert_eq!(first.payload, "{\"left\":1,\"right\":0,\"at\":1,\"alarm\":{\"level\":1.0}}");
}

#[test]
fn while_its_file_is_away_it_waits_and_loses_and_dead_letters_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.onnx");
    let arguments = ["--model", path.to_str().unwrap()];
    let mut program = Program::start(env!("CARGO_BIN_EXE_own_onnx"), &arguments);
    program.send(&"{\"left\":1,\"right\":0}\n".repeat(3));
    assert!(program.says("the model can't be loaded now").contains("late.onnx"));
    // Whole at once, as who brings a model should.
    let whole = folder.path().join("whole");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/doors.onnx"), &whole).unwrap();
    fs::rename(whole, &path).unwrap();
    let output = program.answer("");
    let answer = "{\"left\":1,\"right\":0,\"alarm\":{\"level\":1.0}}\n";
    assert_eq!(output.stdout, answer.repeat(3), "{}", output.stderr);
    assert_eq!((output.code, output.dead_letters()), (Some(0), vec![]));
}

const GOLDEN: &str = r#"{"inputs": [{"left": 1, "right": 0}, {"left": 1, "right": 1}],
    "outputs": [{"level": 1.0}, {"level": 0.0}]}"#;

#[test]
fn a_file_that_takes_its_place_serves_only_if_it_is_whole_and_answers_the_golden_samples() {
    let folder = tempfile::tempdir().unwrap();
    let [path, golden, new] =
        ["doors.onnx", "golden.json", "new"].map(|name| folder.path().join(name));
    let doors = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/doors.onnx")).unwrap();
    fs::write(&path, &doors).unwrap();
    fs::write(&golden, GOLDEN).unwrap();
    let bring = |content: &[u8]| {
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    let arguments = ["--model", path.to_str().unwrap(), "--golden", golden.to_str().unwrap()];
    let variables =
        [("DOORS_SLOT__WATCH", path.to_str().unwrap()), ("DOORS_SLOT__WATCH_MS", "100")];
    let mut program = Program::start_with(env!("CARGO_BIN_EXE_own_onnx"), &arguments, &variables);
    let lines = "{\"left\":1,\"right\":0}\n".repeat(3);
    program.send(&lines);
    // Once that is there, the model serves.
    program.send("no JSON\n");
    program.says("dead letter ");
    bring(&doors[..doors.len() / 2]);
    program.says("doors.onnx is not taken, and doors 1 goes on");
    // The last of its weights, -2, is -1: a network that computes something else.
    let weight = doors.windows(4).rposition(|bytes| bytes == (-2.0_f32).to_le_bytes()).unwrap();
    let mut other = doors.clone();
    other[weight..weight + 4].copy_from_slice(&(-1.0_f32).to_le_bytes());
    bring(&other);
    let refused = program.says("the model doors 1 is not taken");
    assert!(refused.contains("golden sample 1: expected {\"level\":0.0}"), "{refused}");
    program.send(&lines);
    // The name of what made it, once more: another file of the same network.
    bring(&[&doors[..], b"\x12\x04mine"].concat());
    program.says("the model is exchanged");
    let output = program.answer(&lines);
    let answer = "{\"left\":1,\"right\":0,\"alarm\":{\"level\":1.0}}\n";
    assert_eq!(output.stdout, answer.repeat(9), "{}", output.stderr);
    assert_eq!((output.code, output.dead_letters()), (Some(0), vec![]));
}
