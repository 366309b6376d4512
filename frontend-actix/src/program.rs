use std::process::ExitCode;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::{log_from_env, outlet::stderr};

/// Runs a program on a runtime of its own, with its logs set up, and answers its exit code.
///
/// It ends with `program`: no thread is waited for that asks a broker which does not answer.
pub fn run_program<F: Future<Output = anyhow::Result<()>>>(
    program: impl FnOnce() -> F,
) -> ExitCode {
    let _logs = log_from_env();
    let ended = Runtime::new().context("no runtime").and_then(|runtime| {
        let ended = runtime.block_on(program());
        runtime.shutdown_background();
        ended
    });
    finish(ended)
}

/// The exit code, after the error was told in words.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr().line(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
