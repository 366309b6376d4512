//! The examples' programs, as processes.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

/// An example's program, which cargo builds beside the tests.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path: PathBuf = profile.join("examples").join(name);
    assert!(path.exists(), "no {}: cargo build --examples", path.display());
    let mut command = Command::new(path);
    // A folder without a data set, so that the images are drawn.
    command.env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A running example; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The first line on stderr that has `text`.
    pub(crate) fn logged(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "ended without {text:?}");
        }
        line
    }

    pub(crate) fn printed(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().unwrap();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "stdout ended");
        line.trim_end().to_owned()
    }

    /// As `head` does once it has enough.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Sends a signal and answers the exit code.
    pub(crate) fn end(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.code()
    }

    /// The exit code, once it has ended by itself.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
