use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{runtime, sync::oneshot};

use crate::outlet::{stderr, stdout};

/// For what was said before the process ends early.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The exit code of a program that was interrupted before it had an answer, as shells have it for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Listens for SIGINT and SIGTERM (Ctrl-C on Windows) from now on; the future resolves at the first.
///
/// Before the future is first polled a signal ends the process at once with exit code 0: nothing has
/// begun that would have to be finished. After the first signal another one ends it at once with
/// [`INTERRUPTED`]: what is in flight is delivered again.
///
/// # Errors
/// When the operating system does not let this process listen.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send> {
    shutdown_signal_or(0)
}

/// As [`shutdown_signal`], and with this exit code before the future is first polled: a program that was
/// asked something, and that is ended before it answers, has not succeeded.
///
/// # Errors
/// As [`shutdown_signal`].
pub fn shutdown_signal_or(early_code: u8) -> io::Result<impl Future<Output = ()> + Send> {
    // On a thread of its own, because the program's may all wait for something that does not come.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    let (asked, shutdown) = oneshot::channel();
    let is_awaited = Arc::new(AtomicBool::new(false));
    let awaited = Arc::clone(&is_awaited);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.next().await;
            if !awaited.load(Ordering::SeqCst) {
                end(early_code);
            }
            let _ = asked.send(());
            signals.next().await;
            tracing::warn!("asked to stop again; what is in flight is delivered again");
            end(INTERRUPTED);
        });
    })?;
    Ok(async move {
        is_awaited.store(true, Ordering::SeqCst);
        // The thread ends with the process.
        drop(shutdown.await);
    })
}

/// Without the locks of the standard streams, which somebody who does not get on may hold.
#[expect(
    clippy::disallowed_methods,
    reason = "main may be where it does not come back from; what is in flight is delivered again"
)]
fn end(code: u8) -> ! {
    stdout().flush(LAST_WORDS);
    stderr().flush(LAST_WORDS);
    process::exit(code.into())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
