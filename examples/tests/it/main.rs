//! The examples as their users meet them: the console's lines, the programs as processes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod console;
mod golden;
#[cfg(unix)]
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
mod readme;
#[cfg(unix)]
mod start;
#[cfg(unix)]
mod stdio;
