use crate::config::ConfigError;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing listens.
    #[error(transparent)]
    Service(#[from] service::StartError),
    /// It would be unsafe.
    #[error(transparent)]
    Unsafe(#[from] ConfigError),
    /// gRPC is asked for, and this build is without.
    #[error(
        "server.grpc_port is for gRPC, and this program was built without it: build it with \
         --features grpc, as in cargo run --release --features grpc --example demo"
    )]
    NoGrpc,
}
