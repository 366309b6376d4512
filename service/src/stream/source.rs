//! Messages over a transport that this crate does not know.

use std::future::Pending;

use stream_inference::{pipeline::Pulse, transport::Transport};

use super::stdin::Lines;

/// A transport of one's own under a whole program: see [`Stream::run_over`](crate::Stream::run_over).
pub trait Source: Send {
    /// What messages come over.
    type Transport: Transport;

    /// Connects, and answers beside the transport what resolves at the end of the input, once all that was
    /// received has its end; [`std::future::pending`] where there is none. `pulse` is for a transport that
    /// tells what it waits for.
    ///
    /// # Errors
    /// With what a person has to know to make it good.
    fn connect(
        self,
        pulse: Pulse,
    ) -> impl Future<Output = anyhow::Result<(Self::Transport, impl Future<Output = ()> + Send)>> + Send;
}

/// None: what messages come over is chosen among those that this crate knows.
pub(super) enum Known {}

impl Source for Known {
    type Transport = Lines;

    #[expect(refining_impl_trait, reason = "nothing is ever connected")]
    async fn connect(self, _pulse: Pulse) -> anyhow::Result<(Lines, Pending<()>)> {
        match self {}
    }
}
