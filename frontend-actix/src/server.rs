#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
use fmnist_core::{Part, Supervisor, message::ResultRecord};
use service::Serving;
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    task::JoinHandle,
};

use crate::{
    answers,
    grpc::Grpc,
    guard,
    history::History,
    metrics, routes,
    site::{Setup, Site},
    start_error::StartError,
};

/// How long requests that are being answered may go on after the stop.
const STOP_SECONDS: u64 = 10;

/// How long the head of a request may take, which is a packet or two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that serve; what takes long runs elsewhere.
const WORKERS: usize = 2;

/// A front end that answers requests.
pub struct RunningFrontend {
    server: Serving,
    grpc: Grpc,
    stop: watch::Sender<bool>,
    recording: Option<JoinHandle<()>>,
    parts: Supervisor,
}

impl RunningFrontend {
    /// Where it listens, with the port that the system chose if 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where gRPC is served, if it is.
    pub const fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.address()
    }

    /// Stops accepting, ends the streams, finishes what is being answered within ten seconds. The
    /// program's parts may end from now on.
    pub async fn stop(self) {
        self.parts.close();
        self.stop.send_replace(true);
        let (served, ()) = tokio::join!(self.server.stop(), self.grpc.stop());
        if let Err(error) = served {
            tracing::warn!(%error, "the HTTP server ended badly");
        }
        if let Some(recording) = self.recording {
            recording.abort();
        }
    }
}

pub(crate) fn start(setup: Setup, parts: &Supervisor) -> Result<RunningFrontend, StartError> {
    setup.settings.check()?;
    metrics::describe();
    let asked = SocketAddr::new(setup.settings.bind, setup.settings.port);
    let max_connections = setup.settings.max_connections;
    let head_timeout = Duration::from_millis(setup.settings.read_timeout_ms).min(HEAD_TIMEOUT);
    let write_timeout = setup.settings.write_timeout();
    let (stop, stopping) = watch::channel(false);
    let site = Site::new(setup, stopping, parts);
    let shared = site.clone();
    // Signals are the program's business: the pipeline beside this server drains on them, too.
    let server = HttpServer::new(move || app(shared.clone()))
        .disable_signals()
        .shutdown_timeout(STOP_SECONDS)
        .workers(WORKERS)
        .max_connections(max_connections.div_ceil(WORKERS).max(1))
        .client_request_timeout(head_timeout)
        .on_connect(service::cut_off_stalled(write_timeout))
        .bind(asked)
        .map_err(|source| service::StartError::from_bind(asked, "--port or server.port", source))?;
    let address = server.addrs().first().copied().unwrap_or(asked);
    let grpc = Grpc::start(&site, parts)?;
    let part = parts.part("task that serves the page");
    let server = Serving::start(address, server.run(), part);
    let recording = site.setup.results.as_ref().map(|results| {
        let part = parts.part("task that keeps the latest results");
        tokio::spawn(record(results.subscribe(), Arc::clone(&site.history), part))
    });
    Ok(RunningFrontend { server, grpc, stop, recording, parts: parts.clone() })
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
