//! Faults that only a server of our own can be told to have.

use std::time::Duration;

use fmnist_core::transport::{
    Delivery, Outcome, Settlement, Transport, TransportError, conformance::Harness,
};
use google_cloud_pubsub::model::DeadLetterPolicy;
use tokio::time::timeout;
use transport_pubsub::{PubSubToken, PubSubTransport};

use crate::harness::{Emulated, LIMITS, echo, numbered, receive, settle};

const PATIENCE: Duration = Duration::from_secs(60);

async fn settle_all(
    transport: &mut PubSubTransport,
    deliveries: Vec<Delivery<PubSubToken>>,
) -> Settlement {
    settle(transport, deliveries.into_iter().map(echo).collect()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_is_counted_stale_and_its_message_comes_again() {
    let emulated =
        Emulated::with_input(|input, _| input.set_enable_exactly_once_delivery(true)).await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let first = receive(&mut transport, 1).await;
    emulated.server.0.expire_leases();
    let again = receive(&mut transport, 1).await;
    assert_eq!((&first[0].id, &again[0].id), (&sent[0], &sent[0]));

    let stale = Settlement { stale: 1, ..Settlement::default() };
    assert_eq!(settle_all(&mut transport, first).await, stale);
    let published = Settlement { published: 1, ..Settlement::default() };
    assert_eq!(settle_all(&mut transport, again).await, published);
    let input = emulated.config.subscription_name(&emulated.config.subscription_id);
    assert_eq!(emulated.server.0.backlog(&input), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_refused_for_a_while_is_tried_again_before_anything_is_acknowledged() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(3)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 3).await;
    emulated.server.0.refuse_publishes(2);
    let published = Settlement { published: 3, ..Settlement::default() };
    assert_eq!(settle_all(&mut transport, deliveries).await, published);
    emulated.results().await;
    let mut answered = emulated.answered();
    answered.sort_unstable();
    let mut expected = sent;
    expected.sort_unstable();
    assert_eq!(answered, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_a_duplicate_under_the_same_id() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 1).await;
    emulated.server.0.lose_publish_answers(1);
    let published = Settlement { published: 1, ..Settlement::default() };
    assert_eq!(settle_all(&mut transport, deliveries).await, published);
    emulated.results().await;
    assert_eq!(emulated.answered(), [sent[0].clone(), sent[0].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_when_the_server_ends_its_stream() {
    let emulated = Emulated::new().await;
    let mut transport = emulated.connect().await;
    let first = emulated.send(numbered(1)).await;
    let deliveries = receive(&mut transport, 1).await;
    assert_eq!(deliveries[0].id, first[0]);
    settle_all(&mut transport, deliveries).await;
    for _ in 0..3 {
        emulated.server.0.end_streams();
        let sent = emulated.send(numbered(1)).await;
        loop {
            match timeout(PATIENCE, transport.recv(LIMITS)).await.expect("in time") {
                Ok(deliveries) => {
                    let found = deliveries.iter().any(|delivery| delivery.id == sent[0]);
                    settle_all(&mut transport, deliveries).await;
                    if found {
                        break;
                    }
                }
                Err(TransportError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_the_subscription_counts_attempts_and_ends_them() {
    let emulated = Emulated::with_input(|input, config| {
        let topic = config.topic_name(&config.dead_letter_topic);
        let policy = DeadLetterPolicy::new().set_dead_letter_topic(topic);
        input.set_dead_letter_policy(policy.set_max_delivery_attempts(5))
    })
    .await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    for attempt in 1..=5 {
        let delivery = receive(&mut transport, 1).await.remove(0);
        assert_eq!((&delivery.id, delivery.attempt), (&sent[0], Some(attempt)));
        settle(&mut transport, vec![(delivery, Outcome::Retry)]).await;
    }
    let letters = emulated.dead_letters().await;
    assert_eq!(letters.len(), 1);
    let count = letters[0].attributes.text("CloudPubSubDeadLetterSourceDeliveryCount");
    assert_eq!(count, Some("5"));
}
