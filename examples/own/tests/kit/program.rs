//! A started program with its pipes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Stdio},
};

/// A program of one's own; what it says on stderr is read line by line or by [`Program::answer`].
pub struct Program {
    child: Started,
    /// Its log, and dead letters of lines.
    pub stderr: BufReader<ChildStderr>,
}

/// A child that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a program answered.
pub struct Output {
    /// Its exit code; none after a signal.
    pub code: Option<i32>,
    /// Results.
    pub stdout: String,
    /// The log, and dead letters.
    pub stderr: String,
}

impl Output {
    /// Lines of stderr that are dead letters.
    pub fn dead_letters(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("dead letter ")).collect()
    }
}

impl Program {
    /// Starts the program at this path.
    pub fn start(path: &str, arguments: &[&str]) -> Self {
        Self::start_with(path, arguments, &[])
    }

    /// As [`Program::start`], with these variables.
    pub fn start_with(path: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .envs(variables.iter().copied())
            .env("RUST_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child: Started(child), stderr }
    }

    /// Writes to its stdin.
    pub fn send(&mut self, lines: &str) {
        self.child.0.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    /// Asks it to end, by SIGTERM.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to load its model anew, by SIGHUP.
    #[cfg(unix)]
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Reads its log to the first line with `text` in it, and answers that line.
    pub fn says(&mut self, text: &str) -> String {
        let mut said = String::new();
        for line in self.stderr.by_ref().lines().map(|line| line.unwrap()) {
            if line.contains(text) {
                return line;
            }
            said += &format!("{line}\n");
        }
        panic!("it ended without {text:?}, and said\n{said}")
    }

    /// Ends it without a farewell.
    pub fn kill(self) {
        drop(self);
    }

    /// What it answers to these last lines, and how it ends.
    pub fn answer(mut self, lines: &str) -> Output {
        // A program that has ended reads nothing.
        let _ = self.child.0.stdin.take().unwrap().write_all(lines.as_bytes());
        let mut stderr = self.stderr;
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut stdout = String::new();
        self.child.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let stderr = log.join().unwrap().unwrap();
        Output { code: self.child.0.wait().unwrap().code(), stdout, stderr }
    }
}

/// What a program's probes answer, from the status line on.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
