use pubsub_fake::FakePubSub;
use transport_pubsub::Emulator;

/// A server of its own for each test.
pub(crate) struct Server(pub(crate) FakePubSub);

impl Server {
    pub(crate) async fn start() -> Self {
        Self(FakePubSub::start().await.expect("a free port"))
    }

    pub(crate) fn emulator(&self) -> Emulator {
        self.0.address().into()
    }
}
