use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::Harness;
use crate::transport::{
    Delivery, Limits, Outbound, Outcome, Settlement, Transport, TransportError,
};

pub(super) type Claim<H> = <<H as Harness>::Transport as Transport>::Token;

pub(super) fn limits(max_messages: usize) -> Limits {
    Limits { max_messages, max_bytes: 1 << 20, max_wait: Duration::ZERO }
}

/// Messages `first..last` of one lane, with an attribute each.
pub(super) fn messages(key: &str, numbers: std::ops::Range<usize>) -> Vec<Outbound> {
    numbers
        .map(|n| Outbound {
            key: Some(key.to_owned().into()),
            attributes: [("number", n.to_string())].into_iter().collect(),
            payload: format!("{key} {n}").into(),
            ..Outbound::default()
        })
        .collect()
}

/// The answer that the cases give: the payload, and the id as an attribute.
pub(super) fn answer<T>(delivery: &Delivery<T>) -> Outbound {
    Outbound {
        key: delivery.key.clone(),
        attributes: [("id", delivery.id.clone())].into_iter().collect(),
        payload: delivery.payload.clone(),
        ..Outbound::default()
    }
}

pub(super) fn publish<T>(delivery: Delivery<T>) -> (Delivery<T>, Outcome) {
    let outcome = Outcome::Publish(vec![answer(&delivery)]);
    (delivery, outcome)
}

pub(super) fn ids<T>(deliveries: &[Delivery<T>]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.id.clone()).collect()
}

/// The ids that results answer, in order.
pub(super) fn answered(results: &[Outbound]) -> Vec<String> {
    results.iter().filter_map(|r| r.attributes.text("id")).map(str::to_owned).collect()
}

/// Receives until `count` messages are there.
pub(super) async fn receive<H: Harness>(
    harness: &H,
    transport: &mut H::Transport,
    count: usize,
) -> Vec<Delivery<Claim<H>>> {
    let deadline = Instant::now() + harness.patience();
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        match timeout_at(deadline, transport.recv(limits(count - deliveries.len()))).await {
            Ok(Ok(more)) => {
                assert!(!more.is_empty(), "an empty reception");
                deliveries.extend(more);
            }
            Ok(Err(TransportError::Unavailable { .. })) => sleep(Duration::from_millis(50)).await,
            Ok(Err(error)) => panic!("cannot receive: {error}"),
            Err(_) => panic!(
                "expected {count} messages within {:?}, found {:?}",
                harness.patience(),
                ids(&deliveries)
            ),
        }
    }
    deliveries
}

/// Receives and answers messages until each of `expected` was there; answers every id received.
pub(super) async fn answer_until<H: Harness>(
    harness: &H,
    transport: &mut H::Transport,
    expected: &[String],
) -> Vec<String> {
    let mut missing: BTreeSet<&String> = expected.iter().collect();
    let mut received = Vec::new();
    while !missing.is_empty() {
        let deliveries = receive(harness, transport, 1).await;
        received.extend(ids(&deliveries));
        missing.retain(|id| !received.contains(id));
        settle::<H>(transport, deliveries.into_iter().map(publish).collect()).await;
    }
    received
}

pub(super) async fn settle<H: Harness>(
    transport: &mut H::Transport,
    batch: Vec<(Delivery<Claim<H>>, Outcome)>,
) -> Settlement {
    transport.settle(batch).await.expect("the broker confirms")
}

/// Sends one more message to the lane and asserts that it is the next to come: nothing before it
/// was delivered again.
pub(super) async fn assert_nothing_else_waits<H: Harness>(
    harness: &H,
    transport: &mut H::Transport,
    key: &str,
) {
    let sent = harness.send(messages(key, 999..1000)).await;
    let deliveries = receive(harness, transport, 1).await;
    assert_eq!(ids(&deliveries), sent, "delivered again");
    settle::<H>(transport, deliveries.into_iter().map(publish).collect()).await;
}
