use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
};

use serde_json::Value;
use test_kit::example;

fn start(arguments: &[&str]) -> Child {
    let mut command = example("stdio");
    command.args(arguments).env("RUST_LOG", "warn");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.spawn().unwrap()
}

fn classes(line: &str) -> Vec<i64> {
    let result: Value = serde_json::from_str(line).unwrap();
    let predictions = result["predictions"].as_array().unwrap();
    predictions.iter().map(|prediction| prediction["class"].as_i64().unwrap()).collect()
}

#[test]
fn every_line_of_a_pipe_gets_its_result_or_its_dead_letter_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("letters.jsonl");
    let mut program =
        start(&["--dead-letters", letters.to_str().unwrap(), "--max-line-bytes", "3000"]);
    let mut input = program.stdin.take().unwrap();
    let too_long = "x".repeat(5_000);
    for line in [r#"{"start_idx": 0, "end_idx": 300}"#, "no JSON", &too_long, ""] {
        writeln!(input, "{line}").unwrap();
    }
    // The last line needs no end.
    input.write_all(br#"{"start_idx": 7, "end_idx": 8}"#).unwrap();
    drop(input);
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let results = String::from_utf8(output.stdout).unwrap();
    let results: Vec<&str> = results.lines().collect();
    assert_eq!(results.len(), 2);
    assert_eq!(classes(results[1]), [classes(results[0])[7]]);
    let ids = results.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["stdin/1", "stdin/5"]);

    let letters = fs::read_to_string(letters).unwrap();
    let mut letters: Vec<Value> =
        letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    letters.sort_by_key(|letter| letter["payload"].as_str().map(str::len));
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["payload"], "no JSON");
    assert_eq!(letters[1]["payload"], too_long[..1_024]);
}

#[test]
fn dead_letters_go_to_stderr_unless_a_file_is_named() {
    let mut program = start(&[]);
    program.stdin.take().unwrap().write_all(b"{\"start_idx\": 5, \"end_idx\": 2}\n").unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    let errors = String::from_utf8(output.stderr).unwrap();
    let letter = errors.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap();
    let stage = serde_json::json!(["__connect.errors.stage", "VALIDATE"]);
    assert!(letter["attributes"].as_array().unwrap().contains(&stage), "{letter}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_a_closed_pipe_does() {
    let mut program = start(&[]);
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"{\"start_idx\": 0, \"end_idx\": 1}\n").unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert_eq!(classes(&first).len(), 1);
    drop(output);
    input.write_all(b"{\"start_idx\": 1, \"end_idx\": 2}\n").unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(141));
}
