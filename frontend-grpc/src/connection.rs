//! A connection: what it may take, and when it is to end.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};

use crate::{call, calls::Calls, shared::Shared};

/// How long a connection may be without a call, before its place is for others: its client opens another when it
/// has the next.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection without a call may take to end.
const END: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed so late.
const PING: Duration = Duration::from_secs(20);
/// As much of a connection's messages may be under way before anybody reads it.
const WINDOW_BYTES: u32 = 256 << 10;
/// The same of one message.
const CALL_WINDOW_BYTES: u32 = 64 << 10;

/// Serves a client until it goes, has been idle, or the server stops: then what it asked for is answered.
pub(crate) async fn serve<S: Shared>(
    stream: TcpStream,
    shared: Arc<S>,
    mut stopping: watch::Receiver<bool>,
) {
    let bounds = shared.bounds();
    prepare(&stream, bounds.write_timeout);
    let calls = Arc::new(Calls::default());
    let watched = stopping.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, calls, stopping) = (Arc::clone(&shared), Arc::clone(&calls), watched.clone());
        async move {
            let open = calls.begin();
            let answer = call::answer(&shared, &calls, stopping, request).await;
            Ok::<_, Infallible>(answer.map(|answer| answer.of(open)))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .max_concurrent_streams(u32::try_from(bounds.max_calls).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                // Clients go away as they like.
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = calls.stalled() => {
                return tracing::debug!("a client that does not read its answer is cut off");
            }
            // One that never says that it has heard of its end.
            () = calls.idle(END), if is_ending => return,
            () = async { drop(stopping.wait_for(|stop| *stop).await) }, if !is_ending => {
                connection.as_mut().graceful_shutdown();
                is_ending = true;
            }
            () = calls.idle(IDLE), if !is_ending => {
                connection.as_mut().graceful_shutdown();
                is_ending = true;
            }
        }
    }
}

/// A client that takes nothing at all is cut off by the system, which sees that first.
fn prepare(stream: &TcpStream, write_timeout: Duration) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client waits for full packets");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(write_timeout)) {
        tracing::warn!(%error, "a client that does not read its answer is not cut off");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = write_timeout;
}
