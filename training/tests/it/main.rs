//! The program as it is used: a process that may be killed.

mod keras;
mod output;
mod own_data;
mod queue;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use fmnist_core::dataset::{Split, synthetic};

/// Images and labels drawn by the project, as IDX files.
fn write_data(folder: &Path) {
    for (split, count) in [(Split::Train, 96_u32), (Split::Test, 24)] {
        let data = synthetic(split, count as usize, 1);
        let header = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
        };
        let mut images = header(&[0x803, count, 28, 28]);
        data.images.iter().for_each(|image| images.extend(image.pixels()));
        let mut labels = header(&[0x801, count]);
        labels.extend(&*data.labels);
        let [image_name, label_name] = split.file_names();
        fs::write(folder.join(image_name), images).expect("written");
        fs::write(folder.join(label_name), labels).expect("written");
    }
}

/// Four epochs of eleven steps, with a checkpoint after each step.
fn train(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
    command
        .args(["train", "--model", "tiny", "--epochs", "4", "--batch", "8", "--threads", "2"])
        .args(["--checkpoint-every", "0", "--data"])
        .arg(folder)
        .arg("--checkpoint-dir")
        .arg(folder.join(name))
        .arg("--out")
        .arg(folder.join(name).with_extension("safetensors"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn finish(mut command: Command) {
    let output = command.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Kills the run when it says on stderr what begins like this.
fn kill_at(mut command: Command, start: &str) {
    let mut child = command.spawn().expect("started");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let reached = lines.map(|line| line.expect("text")).any(|line| line.starts_with(start));
    assert!(reached, "the run ended before {start}");
    child.kill().expect("killed");
    assert!(!child.wait().expect("ended").success());
}

#[test]
fn a_run_that_is_killed_three_times_ends_with_the_same_file() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    finish(train(folder.path(), "whole"));

    let mut resumed = train(folder.path(), "killed");
    for step in [5, 17, 39] {
        kill_at(resumed, &format!("step {step} of 44:"));
        resumed = train(folder.path(), "killed");
        resumed.arg("--resume");
    }
    finish(resumed);

    let read = |name: &str| fs::read(folder.path().join(name)).expect("written");
    assert!(read("whole.safetensors") == read("killed.safetensors"), "the weights differ");
    let metrics = String::from_utf8(read("killed/metrics.jsonl")).expect("text");
    assert_eq!(metrics.lines().count(), 4);
    assert_eq!(metrics.as_bytes(), read("whole/metrics.jsonl"));
    assert!(metrics.starts_with(r#"{"epoch":1,"steps":11,"loss":"#), "{metrics}");
}

#[test]
fn a_run_that_is_not_finished_is_not_overwritten_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    kill_at(train(folder.path(), "run"), "step 1 of 44:");
    let output = train(folder.path(), "run").output().expect("started");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(message.contains("holds a checkpoint; add --resume"), "{message}");
}
