use fmnist_core::engine::UnknownKernel;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Of any program's.
    #[error(transparent)]
    Read(#[from] service::ConfigError),
    /// `FMNIST_KERNEL` is wrong.
    #[error("FMNIST_KERNEL cannot be used; without it the best kernel is chosen")]
    Kernel(#[source] UnknownKernel),
    /// Reachable from other machines, and nothing asks who calls.
    #[error(
        "server.bind is {bind}, which other machines reach: set server.api_token (or \
         FMNIST_SERVER__API_TOKEN_FILE), or bind to 127.0.0.1"
    )]
    PublicWithoutToken {
        /// The address.
        bind: String,
    },
    /// Other names than this computer's own, and nothing asks who calls.
    #[error(
        "server.hosts lets others than this computer's users in: set server.api_token (or \
         FMNIST_SERVER__API_TOKEN_FILE)"
    )]
    HostsWithoutToken,
    /// What no `Host` can be.
    #[error(
        "server.hosts has to be names such as garments.example.com, without scheme, port or *, \
         found {found:?}"
    )]
    Host {
        /// The entry.
        found: String,
    },
    /// A token that headers and cookies can't carry.
    #[error("server.api_token has to be 16 to 512 letters, digits and -._~ without spaces")]
    Token,
}
