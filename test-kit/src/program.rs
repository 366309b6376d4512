//! Programs, as processes.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

/// An example's program, which cargo builds beside the tests.
///
/// # Panics
/// If it is not built.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "no {}: cargo build --examples", path.display());
    // Cargo's `CARGO_TARGET_TMPDIR`, which only tests are told: without a data set, so that the images are
    // drawn.
    let folder = profile.parent().unwrap().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(path);
    command.env_clear().current_dir(folder);
    command
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
}

impl Program {
    /// Starts it, with pipes in place of stdout and stderr.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The first line on stderr that has `text`.
    ///
    /// # Panics
    /// If there is none.
    pub fn logged(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "ended without {text:?}");
        }
        line
    }

    /// The next line on stdout.
    ///
    /// # Panics
    /// If there is none.
    pub fn printed(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().unwrap();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "stdout ended");
        line.trim_end().to_owned()
    }

    /// As `head` does once it has enough.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Sends a signal, `-TERM` or another, and returns the exit code.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn end(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.code()
    }

    /// The exit code, once it has ended by itself.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The status and the body of what a server answers.
///
/// # Panics
/// If it can't be reached, or what it answers is no HTTP.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}
