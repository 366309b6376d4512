use test_kit::emulator;
use transport_pubsub::Emulator;

/// A way to the emulator that is running already.
pub(crate) struct Server(Emulator);

impl Server {
    pub(crate) async fn start() -> Self {
        let address = std::env::var("PUBSUB_EMULATOR_HOST");
        let address =
            address.expect("PUBSUB_EMULATOR_HOST is not set: run scripts/test-brokers.sh");
        let proxied = emulator::proxy(address).await.to_string();
        Self(Emulator::new(&proxied).expect("an address"))
    }

    pub(crate) fn emulator(&self) -> Emulator {
        self.0.clone()
    }
}
