use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fmnist_core::Part;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{connection, shared::Shared};

/// How long calls that are being answered may go on after the stop.
const STOP: Duration = Duration::from_secs(10);
/// Between two attempts to accept, where the system refuses.
const PAUSE: Duration = Duration::from_millis(500);

/// A server that answers on tasks of its own until it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds the address and serves there, as a part of the program.
    ///
    /// # Errors
    /// When the address can't be bound.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(address: SocketAddr, shared: Arc<impl Shared>, part: Part) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            serve(listener, shared, stopping).await;
            part.done();
        });
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, ends the streams, and finishes what is being answered within ten seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP, &mut self.task).await.is_err() {
            tracing::warn!("calls that took too long after the stop are cut off");
            self.task.abort();
        }
    }
}

/// Ends its connections when it is dropped.
async fn serve<S: Shared>(listener: TcpListener, shared: Arc<S>, stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(shared.bounds().max_connections));
    let mut connections = JoinSet::new();
    let mut stop = stopping.clone();
    loop {
        tokio::select! {
            // An error means that the program is gone.
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            (stream, place) = accept(&listener, &places) => {
                let served = connection::serve(stream, Arc::clone(&shared), stopping.clone());
                connections.spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next client, once there is a place for it. Cancel safe.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // It is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "no connection is accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
