use std::time::Duration;

use stream_inference::transport::{Limits, Settlement, Transport, conformance::Harness};
use tokio::time::timeout;

use crate::harness::{Emulated, LIMITS, echo, numbered, receive, settle};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_held_three_acknowledge_deadlines_is_delivered_once_and_acknowledged() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);

    // The harness's subscription has a deadline of 10 s.
    let wait = Limits { max_messages: 1, ..LIMITS };
    let again = timeout(Duration::from_secs(31), transport.recv(wait)).await;
    assert!(again.is_err(), "delivered again while it was held");

    let settlement = settle(&mut transport, vec![echo(delivery)]).await;
    assert_eq!(settlement, Settlement { published: 1, ..Settlement::default() });
    transport.drain(Duration::from_secs(10)).await.expect("drained");

    // Had it not been acknowledged, it would come again after one more deadline.
    let mut next = emulated.connect().await;
    assert!(timeout(Duration::from_secs(13), next.recv(wait)).await.is_err(), "not acknowledged");
    assert_eq!(emulated.answered(), sent);
}
