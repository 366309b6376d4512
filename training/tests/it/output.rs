//! What is written where: stdout that nobody reads, places that cannot be written.

use std::{
    fs, io,
    process::{Command, Output, Stdio},
};

use crate::{finish, train, write_data};

/// Runs a command whose stdout is closed from the start.
fn unread(mut command: Command) -> Output {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("started");
    child.wait_with_output().expect("ended")
}

#[test]
fn a_closed_pipe_ends_the_program_as_it_ends_others() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    let words = ["evaluate --model tiny", "card", "queue none.jsonl --status"];
    fs::write(folder.path().join("none.jsonl"), "").expect("written");
    for words in words {
        let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
        command.args(words.split(' ')).current_dir(folder.path()).env("FMNIST_DATA", folder.path());
        let output = unread(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), &*said), (Some(128 + 13), ""), "{words}");
    }

    // The first epoch's line is the first to be printed; the run goes on from there.
    let output = unread(train(folder.path(), "run"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(128 + 13), "{said}");
    assert!(said.lines().all(|line| line.starts_with("step ")), "{said}");
    let mut resumed = train(folder.path(), "run");
    resumed.arg("--resume");
    finish(resumed);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_training() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    fs::create_dir(folder.path().join("folder.md")).expect("created");
    let at = |name: &str| folder.path().join(name);
    for (option, place, expected) in [
        ("--out", at("missing/shoes.safetensors"), "cannot write "),
        ("--out", at("folder.md"), "cannot write "),
        ("--out", at("folder.safetensors"), "folder.md: name a file, not a folder"),
        ("--out", at("shoes.md"), "its card is of that name"),
        ("--checkpoint-dir", at("t10k-images-idx3-ubyte"), "cannot write into "),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
        command.args(["train", "--model", "tiny", "--data", "."]).arg(option).arg(place);
        let output = command.current_dir(folder.path()).output().expect("started");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{message}");
        assert!(!at("checkpoints").exists(), "it trained all the same");
    }
    let mut report = Command::new(env!("CARGO_BIN_EXE_training"));
    report
        .args(["robustness", "--data", "."])
        .arg("--out")
        .arg(at("t10k-images-idx3-ubyte/report"));
    let output = report.current_dir(folder.path()).output().expect("started");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("cannot write into "), "{message}");
}

#[test]
fn a_finished_run_is_not_in_the_way_of_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    finish(train(folder.path(), "run"));
    let mut other = train(folder.path(), "run");
    other.args(["--seed", "2"]);
    let output = other.output().expect("started");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    assert!(
        message.contains("run.safetensors is there and will be replaced in the end"),
        "{message}"
    );
}
