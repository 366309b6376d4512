use std::{
    any::Any,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actix_web::{dev::Extensions, rt::net::TcpStream};

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
