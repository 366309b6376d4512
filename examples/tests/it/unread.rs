use std::{
    fs, io,
    process::{Output, Stdio},
};

use fmnist_core::dataset::{Split, synthetic};

use crate::program::example;

/// Runs `classify` with a stdout that is closed from the start.
fn classify(arguments: &[&str]) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = example("classify");
    let command = command.args(arguments).stdout(writer).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn classify_ends_without_a_word_where_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.png");
    fs::write(&picture, synthetic(Split::Test, 1, 0).images[0].to_png()).unwrap();
    let picture = picture.to_str().unwrap();
    for arguments in [&["--model-info"][..], &[picture, picture], &["--json", picture]] {
        let output = classify(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), &*said), (Some(128 + 13), ""), "{arguments:?}");
    }
}
