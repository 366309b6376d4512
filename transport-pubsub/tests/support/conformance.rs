use stream_inference::transport::{Capabilities, Guarantee, conformance};

use crate::harness::Emulated;

#[tokio::test(flavor = "multi_thread")]
async fn the_transport_passes_the_conformance_suite() {
    let capabilities = Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true);
    conformance::run(capabilities, Emulated::new).await;
}
