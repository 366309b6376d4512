//! How a program receives lines.

use fmnist_core::pipeline::Pulse;
use service::Source;

use crate::transport::{Lines, StdioTransport};

impl Source for Lines {
    type Transport = StdioTransport;

    async fn connect(
        self,
        _pulse: Pulse,
    ) -> anyhow::Result<(StdioTransport, impl Future<Output = ()> + Send)> {
        Ok((self.consumer(), async move { self.held.finished().await }))
    }
}
