//! The examples as their users meet them: the console's lines, the programs as processes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod console;
#[cfg(unix)]
mod observed;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
#[path = "../support/program.rs"]
mod program;
#[cfg(unix)]
mod stdio;
#[path = "../support/written.rs"]
mod written;
