use stream_inference::transport::{Settlement, conformance::Harness};

use crate::harness::{Emulated, echo, numbered, receive, settle};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_are_confirmed_on_a_subscription_with_exactly_once_delivery() {
    let emulated =
        Emulated::with_input(|input, _| input.set_enable_exactly_once_delivery(true)).await;
    let sent = emulated.send(numbered(20)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 20).await;
    let settlement = settle(&mut transport, deliveries.into_iter().map(echo).collect()).await;
    assert_eq!(settlement, Settlement { published: 20, ..Settlement::default() });
    drop(transport);

    let more = emulated.send(numbered(1)).await;
    let mut next = emulated.connect().await;
    let delivery = receive(&mut next, 1).await.remove(0);
    assert_eq!(delivery.id, more[0], "an acknowledged message came again");
    assert_eq!(emulated.results().await.len(), sent.len());
}
