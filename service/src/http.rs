use std::{
    any::Any,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actix_web::{
    dev::{Extensions, Server, ServerHandle},
    rt::net::TcpStream,
};
use stream_inference::Part;
use tokio::task::JoinHandle;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program has the port.
    #[error("port {port} on {bind} is in use; choose another with {setting}")]
    PortInUse {
        /// The address.
        bind: IpAddr,
        /// The port.
        port: u16,
        /// What sets it.
        setting: &'static str,
    },
    /// The address can't be bound.
    #[error("cannot listen on {address}; choose another with server.bind and {setting}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What sets the port.
        setting: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something else in this process collects metrics.
    #[error("another recorder of metrics is installed in this process")]
    Recorder,
}

impl StartError {
    /// The error of a bind to `address`, whose port `setting` sets.
    pub fn from_bind(address: SocketAddr, setting: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                Self::PortInUse { bind: address.ip(), port: address.port(), setting }
            }
            _ => Self::Bind { address, setting, source },
        }
    }
}

/// Ends a connection whose client takes nothing of its answer for so long, the answer's room in memory
/// with it. The system sees that better than a server could, which only knows what it handed over.
pub fn cut_off_stalled(
    timeout: Duration,
) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
    move |connection, _| {
        #[cfg(target_os = "linux")]
        if let Some(stream) = connection.downcast_ref::<TcpStream>()
            && let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
        {
            tracing::warn!(%error, "a client that does not read its answer is not cut off");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (connection, timeout);
    }
}

/// A server that answers on a task of its own until it is stopped.
pub struct Serving {
    address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Serving {
    /// Serves at `address`, as a part of the program.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(address: SocketAddr, server: Server, part: Part) -> Self {
        let handle = server.handle();
        let task = tokio::spawn(async move {
            let _part = part;
            server.await
        });
        Self { address, handle, task }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends at once, as a panic would: the program hears that a part of it has ended.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Finishes what is being answered, and ends.
    ///
    /// # Errors
    /// What the server ended with.
    pub async fn stop(self) -> io::Result<()> {
        self.handle.stop(true).await;
        // A task that was aborted has said so to the program.
        self.task.await.unwrap_or(Ok(()))
    }
}
