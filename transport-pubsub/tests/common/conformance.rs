use stream_inference::transport::{Capabilities, Guarantee, conformance};

use crate::harness::Emulated;

#[tokio::test(flavor = "multi_thread")]
async fn the_transport_passes_the_conformance_suite() {
    let capabilities =
        Capabilities { guarantee: Guarantee::AtLeastOnce, lanes: true, attempts: false };
    conformance::run(capabilities, Emulated::new).await;
}
