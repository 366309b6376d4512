#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
use fmnist_core::{Part, Supervisor, message::ResultRecord};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    task::JoinHandle,
};

use crate::{ConfigError, Frontend, answers, guard, metrics, results::History, routes, site::Site};

/// How long requests that are being answered may go on after the stop.
const STOP_SECONDS: u64 = 10;

/// How long the head of a request may take, which is a packet or two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that serve; what takes long runs elsewhere.
const WORKERS: usize = 2;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program has the port.
    #[error("port {port} on {bind} is in use; choose another with --port or server.port")]
    PortInUse {
        /// The address.
        bind: IpAddr,
        /// The port.
        port: u16,
    },
    /// The address can't be bound.
    #[error("cannot listen on {address}; choose another with --port, server.bind or server.port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something else in this process collects metrics.
    #[error("another recorder of metrics is installed in this process")]
    Recorder,
    /// It would be unsafe.
    #[error(transparent)]
    Unsafe(#[from] ConfigError),
}

impl StartError {
    pub(crate) fn from_bind(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                Self::PortInUse { bind: address.ip(), port: address.port() }
            }
            _ => Self::Bind { address, source },
        }
    }
}

/// A front end that answers requests.
pub struct RunningFrontend {
    address: SocketAddr,
    handle: ServerHandle,
    stop: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
    recording: Option<JoinHandle<()>>,
    parts: Supervisor,
}

impl RunningFrontend {
    /// Where it listens, with the port that the system chose if 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, ends the streams, finishes what is being answered within ten seconds. The
    /// program's parts may end from now on.
    pub async fn stop(self) {
        self.parts.close();
        self.stop.send_replace(true);
        self.handle.stop(true).await;
        if let Ok(Err(error)) = self.serving.await {
            tracing::warn!(%error, "the HTTP server ended badly");
        }
        if let Some(recording) = self.recording {
            recording.abort();
        }
    }
}

pub(crate) fn start(frontend: Frontend, parts: &Supervisor) -> Result<RunningFrontend, StartError> {
    frontend.settings.check()?;
    let asked = SocketAddr::new(frontend.settings.bind, frontend.settings.port);
    let max_connections = frontend.settings.max_connections;
    let head_timeout = Duration::from_millis(frontend.settings.read_timeout_ms).min(HEAD_TIMEOUT);
    let write_timeout = frontend.settings.write_timeout();
    let (stop, stopping) = watch::channel(false);
    let site = Site::new(frontend, stopping, parts);
    let shared = site.clone();
    // Signals are the program's business: the pipeline beside this server drains on them, too.
    let server = HttpServer::new(move || app(shared.clone()))
        .disable_signals()
        .shutdown_timeout(STOP_SECONDS)
        .workers(WORKERS)
        .max_connections(max_connections.div_ceil(WORKERS).max(1))
        .client_request_timeout(head_timeout)
        .on_connect(answers::cut_off_stalled(write_timeout))
        .bind(asked)
        .map_err(|source| StartError::from_bind(asked, source))?;
    let address = server.addrs().first().copied().unwrap_or(asked);
    let server = server.run();
    let handle = server.handle();
    let part = parts.part("task that serves the page");
    let serving = tokio::spawn(async move {
        let _part = part;
        server.await
    });
    let recording = site.frontend.results.as_ref().map(|results| {
        let part = parts.part("task that keeps the latest results");
        tokio::spawn(record(results.subscribe(), Arc::clone(&site.history), part))
    });
    Ok(RunningFrontend { address, handle, stop, serving, recording, parts: parts.clone() })
}

/// Keeps the latest results for pages that are opened later.
async fn record(mut results: Receiver<Arc<ResultRecord>>, history: Arc<History>, _part: Part) {
    loop {
        match results.recv().await {
            Ok(record) => history.push(record),
            Err(RecvError::Lagged(missed)) => history.miss(missed),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Every route, each behind the guard.
pub(crate) fn app(
    site: web::Data<Site>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(site)
        .wrap(from_fn(guard::add_headers))
        .wrap(from_fn(answers::bound))
        .wrap(from_fn(metrics::measure))
        .configure(routes::all)
        .default_service(routes::missing())
}
