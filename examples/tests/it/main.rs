//! The examples as their users meet them: the console's lines, the programs as processes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod console;
mod documents;
mod figures;
mod golden;
#[cfg(unix)]
#[path = "../support/limit.rs"]
mod limit;
#[cfg(unix)]
mod memory;
#[cfg(unix)]
mod obeyed;
#[cfg(unix)]
mod observed;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
#[path = "../support/program.rs"]
mod program;
#[cfg(unix)]
mod readme;
#[cfg(unix)]
mod start;
#[cfg(unix)]
mod stdio;
#[path = "../support/written.rs"]
mod written;
