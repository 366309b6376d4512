//! A started program with its pipes.

use std::{
    io::{BufReader, Read, Write},
    process::{Child, ChildStderr, Command, Stdio},
};

pub(crate) const COUNTRIES: &str = "{\"BR\": 0.25, \"NL\": 0.125}";

pub(crate) struct Program {
    child: Child,
    pub(crate) stderr: BufReader<ChildStderr>,
}

pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn dead_letters(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("dead letter ")).collect()
    }
}

pub(crate) fn own_function(arguments: &[&str]) -> Program {
    let mut child = Command::new(env!("CARGO_BIN_EXE_own_function"))
        .args(arguments)
        .env("RUST_LOG", "info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Program { child, stderr }
}

impl Program {
    pub(crate) fn send(&mut self, lines: &str) {
        self.child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Ends it without a farewell.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it answers to these last lines, and how it ends.
    pub(crate) fn answer(mut self, lines: &str) -> Output {
        // A program that has ended reads nothing.
        let _ = self.child.stdin.take().unwrap().write_all(lines.as_bytes());
        let mut stderr = self.stderr;
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let stderr = log.join().unwrap().unwrap();
        Output { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}
