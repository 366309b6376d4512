//! What the program says. Where nobody reads any more (`| head`), it ends without a word, as SIGPIPE
//! ends other programs: Rust's programs are not sent it, and `println!` panics.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;

/// What a shell answers for a program that SIGPIPE has ended.
const UNREAD: u8 = 128 + 13;

/// Nobody reads stdout or stderr any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is said")]
struct Unread;

/// Prints to stdout as `println!` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::console::line(&mut std::io::stdout(), format_args!($($text)*)) };
}

/// Prints to stderr as `eprintln!` does.
macro_rules! remark {
    ($($text:tt)*) => { $crate::console::line(&mut std::io::stderr(), format_args!($($text)*)) };
}

pub(crate) use {remark, say};

/// Writes one line, or several.
pub(crate) fn line(to: &mut impl Write, text: fmt::Arguments<'_>) -> Result<()> {
    match to.write_fmt(format_args!("{text}\n")).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        written => Ok(written?),
    }
}

/// Whether an error is that nobody reads what is said.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    error.is::<Unread>()
}

/// How the program ends.
pub(crate) fn exit(ended: Result<()>) -> Result<ExitCode> {
    match ended {
        Err(error) if is_unread(&error) => Ok(ExitCode::from(UNREAD)),
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}
