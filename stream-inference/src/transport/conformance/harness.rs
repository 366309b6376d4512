//! What cases are run on, and the steps that they share.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::transport::{
    Delivery, Limits, Outbound, Outcome, Settlement, Transport, TransportError,
};

/// One isolated set of topics on a broker, with everything around the transport under test.
pub trait Harness: Send + Sync {
    /// The transport under test.
    type Transport: Transport;

    /// A new consumer of the same group or subscription, ready to receive. An earlier one may have
    /// been dropped without a word, as in a crash.
    fn connect(&self) -> impl Future<Output = Self::Transport> + Send;

    /// Sends messages, confirmed, in order; returns their ids. The same key means the same lane.
    /// All have a key and an attribute, one payload is not UTF-8, and the largest has 1,000 bytes.
    fn send(&self, messages: Vec<Outbound>) -> impl Future<Output = Vec<String>> + Send;

    /// Everything on the results topic so far, in order within a key, as a `read_committed` reader.
    fn results(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// Everything on the dead-letter topic so far.
    fn dead_letters(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// Makes the next `count` settlements of `transport` abort after their results were sent. Called
    /// where the transport claims [`Guarantee::ExactlyOnce`](crate::transport::Guarantee::ExactlyOnce).
    fn abort_settlements(
        &self,
        _transport: &mut Self::Transport,
        _count: usize,
    ) -> impl Future<Output = ()> + Send {
        async { panic!("a transport that claims exactly once has a way to inject aborts") }
    }

    /// The most that the broker takes of a result, in bytes with key and attributes: at least 1,000
    /// more than what [`Harness::send`] is given. `None` skips the case of a larger one.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }

    /// A topic that the transport under test has a route to. `None` skips the cases of routes.
    fn route(&self) -> Option<&str> {
        None
    }

    /// Everything on that topic so far, as [`Harness::results`]. Called where there is a route.
    fn routed(&self) -> impl Future<Output = Vec<Outbound>> + Send {
        async { panic!("a harness with a route can read it") }
    }

    /// How long the broker may take to deliver an unsettled message again.
    fn patience(&self) -> Duration;
}

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

/// Sends so many messages of one lane, and has a new consumer receive all of them.
pub(super) async fn given<H: Harness>(
    harness: &H,
    count: usize,
) -> (Vec<String>, H::Transport, Vec<Delivery<Claim<H>>>) {
    let sent = harness.send(messages("a", 0..count)).await;
    let mut transport = harness.connect().await;
    let deliveries = receive(harness, &mut transport, count).await;
    (sent, transport, deliveries)
}

/// Receives and answers messages until each of `expected` was there; returns every id received.
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
