//! What programs print that end when nobody reads it any more (`| head`).

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use crate::{logs::LAST_WORDS, stderr};

/// What a shell says of a program that a closed pipe ended: 128 and the number of SIGPIPE.
pub const UNREAD: u8 = 128 + 13;

/// Nobody reads stdout any more; the program ends without a word.
#[derive(Debug)]
pub struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads stdout")
    }
}

impl std::error::Error for Unread {}

/// Prints a line to stdout: `println!` would panic where nobody reads.
///
/// # Errors
/// [`Unread`], or what else the system says.
pub fn print_line(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    match io::stdout().write_fmt(format_args!("{text}\n")) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        written => Ok(written?),
    }
}

/// The exit code after an error, which is said but where that is [`Unread`].
pub fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<Unread>() {
        return ExitCode::from(UNREAD);
    }
    stderr().line(format_args!("error: {error:#}"));
    stderr().flush(LAST_WORDS);
    ExitCode::FAILURE
}

/// As [`failed`], where what was said can't be done.
pub(crate) fn wrong_arguments(error: &anyhow::Error) -> ExitCode {
    failed(error);
    ExitCode::from(2)
}
