use std::process::ExitCode;

use anyhow::{Context, anyhow};
use stream_inference::Supervisor;
use tokio::runtime::Runtime;

use crate::{failed, log_from_env};

/// Runs a program on a runtime of its own, with its logs set up, and returns its exit code.
///
/// It ends with `program`: no thread is waited for that asks a broker which does not answer. `program`
/// hands its parts out and stops once one of them has ended, see [`Supervisor::ended`]; the error that
/// names the part comes from here.
pub fn run_program<F: Future<Output = anyhow::Result<()>>>(
    program: impl FnOnce(Supervisor) -> F,
) -> ExitCode {
    let _logs = log_from_env();
    let ended = Runtime::new().context("no runtime").and_then(|runtime| {
        let ended = runtime.block_on(watched(program));
        runtime.shutdown_background();
        ended
    });
    finish(ended)
}

async fn watched<F: Future<Output = anyhow::Result<()>>>(
    program: impl FnOnce(Supervisor) -> F,
) -> anyhow::Result<()> {
    let parts = Supervisor::new();
    let ended = program(parts.clone()).await;
    let Some(reason) = parts.failure() else { return ended };
    Err(match ended {
        Ok(()) => anyhow!("{reason}"),
        Err(error) => error.context(reason),
    })
}

/// The exit code, after the error was told in words.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_stops_because_a_part_ended_early_fails_and_names_it() {
        let ended = watched(async |parts: Supervisor| {
            let part = parts.part("task that keeps the latest results");
            tokio::spawn(async move {
                let _part = part;
                panic!("on purpose");
            });
            parts.ended().await;
            Ok(())
        });
        let error = ended.await.expect_err("a part ended").to_string();
        assert_eq!(error, "the task that keeps the latest results ended early");
        watched(async |parts: Supervisor| {
            let part = parts.part("task");
            parts.close();
            drop(part);
            Ok(())
        })
        .await
        .expect("it was closed");
    }
}
