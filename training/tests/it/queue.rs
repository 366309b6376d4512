//! `training queue`: killed, shared, and as good as single runs.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use fmnist_core::weights::Weights;
use serde_json::Value;

use crate::{finish, kill_at, write_data};

const OPTIONS: &str = "--model tiny --epochs 2 --batch 8 --threads 2";

/// Two seeds of one recipe and one of another, saved as Windows' editors do.
fn write_list(folder: &Path) {
    let list = format!(
        "\u{feff}{{\"recipe\": \"plain\", \"seeds\": [1, 2], \"train\": \"{OPTIONS} --checkpoint-every 0\"}}\r\n\r\n\
         {{\"recipe\": \"worse\", \"seeds\": [3], \"train\": \"{OPTIONS} --flip alternating --corrupt 0.5\"}}"
    );
    fs::write(folder.join("list.jsonl"), list).expect("written");
}

fn training(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
    command.args(words.split(' ')).args(["--data", "."]).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The states of the runs in the order of the list, after making sure that the table has them.
fn states(folder: &Path) -> Vec<String> {
    let output = training(folder, "queue list.jsonl --status").output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("text");
    let rows = table.lines().skip(2).map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let rows: Vec<_> = rows.collect();
    let runs: Vec<_> = rows.iter().map(|row| (row[1], row[2])).collect();
    assert_eq!(runs, [("plain", "1"), ("plain", "2"), ("worse", "3")], "{table}");
    rows.iter().map(|row| row[3].to_owned()).collect()
}

fn weights(path: &Path) -> Weights {
    Weights::from_bytes(&fs::read(path).expect("written")).expect("weights")
}

#[test]
fn a_queue_that_is_killed_goes_on_and_ends_with_what_single_runs_end_with() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    write_list(folder.path());
    assert_eq!(states(folder.path()), ["waits", "waits", "waits"]);
    kill_at(training(folder.path(), "queue list.jsonl"), "step 16 of 22:");
    assert_eq!(states(folder.path()), ["begun, epoch 1", "waits", "waits"]);

    finish(training(folder.path(), "queue list.jsonl"));
    assert_eq!(states(folder.path()), ["done", "done", "done"]);
    let at = |name: &str| folder.path().join("list").join(name);
    let mut left: Vec<_> =
        fs::read_dir(at("")).expect("a folder").collect::<Result<_, _>>().expect("listed");
    left.sort_by_key(fs::DirEntry::file_name);
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(
        left,
        ["plain-1.safetensors", "plain-2.safetensors", "runs.jsonl", "worse-3.safetensors"]
    );

    let lines = fs::read_to_string(at("runs.jsonl")).expect("written");
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[2]["recipe"], &lines[2]["seed"]), (&"worse".into(), &3.into()));
    assert_eq!(
        (&lines[0]["held_out"], &lines[0]["weights"]),
        (&10.into(), &"plain-1.safetensors".into())
    );
    assert!(lines.iter().all(|line| line["seconds"].as_f64() > Some(0.0)), "{lines:?}");

    for (file, options) in [
        ("plain-1.safetensors", "--seed 1"),
        ("worse-3.safetensors", "--seed 3 --flip alternating --corrupt 0.5"),
    ] {
        finish(training(
            folder.path(),
            &format!("train {OPTIONS} {options} --out single.safetensors"),
        ));
        let (single, queued) =
            (weights(&folder.path().join("single.safetensors")), weights(&at(file)));
        assert!(single.tensors == queued.tensors, "{file} is another");
        assert_eq!(single.metadata.origin, queued.metadata.origin);
        assert!(single.metadata.score.is_some() && queued.metadata.score.is_none());
    }
}

#[test]
fn a_run_that_another_process_works_on_is_left_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    write_list(folder.path());
    fs::create_dir(folder.path().join("list")).expect("created");
    let other = File::create(folder.path().join("list/plain-1.lock")).expect("created");
    other.lock().expect("locked");
    assert_eq!(states(folder.path()), ["runs", "waits", "waits"]);
    finish(training(folder.path(), "queue list.jsonl"));
    assert_eq!(states(folder.path()), ["runs", "done", "done"]);
}

#[test]
fn a_line_that_cannot_be_run_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    let refused = |list: &str| {
        fs::write(folder.path().join("list.jsonl"), list).expect("written");
        let output = training(folder.path(), "queue list.jsonl").output().expect("started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let line = |train: &str| format!(r#"{{"recipe": "x", "seeds": [1], "train": "{train}"}}"#);
    for (list, expected) in [
        (line("--model tiny --epoch 3"), "unexpected argument '--epoch'"),
        (line("--model tiny --seed=3"), "recipe x: --seed=3 is the queue's own"),
        (line("--model tiny --corrupt 2"), "--corrupt must be at least 0.0 and below 1.0"),
        (line("--model tiny").replace('x', "../x"), "expected a recipe's name of letters"),
        (line("--model tiny").replace("[1]", "[1, 1]"), "list.jsonl, line 1: x-1 twice"),
        (line("--model tiny").replace("seeds", "seed"), "unknown field `seed`"),
        (format!("\n{}\nno JSON", line("--model tiny")), "list.jsonl, line 3"),
    ] {
        let message = refused(&list);
        assert!(message.contains(expected), "{message}");
    }
    assert!(!folder.path().join("list").exists());

    fs::create_dir(folder.path().join("list")).expect("created");
    let done = r#"{"recipe":"x","seed":1,"train":"--model tiny","command":"","architecture":"tiny","epochs":1,
        "held_out":1,"held_out_accuracy":0.5,"temperature":1.0,"seconds":1.0,"weights":"","sha256":""}"#;
    fs::write(folder.path().join("list/runs.jsonl"), done.replace('\n', "")).expect("written");
    let message = refused(&line("--model tiny --epochs 9"));
    let expected = "recipe x was run as `--model tiny` and is now `--model tiny --epochs 9`";
    assert!(message.contains(expected), "{message}");
}
