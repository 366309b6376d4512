use std::time::Duration;

use fmnist_core::transport::{
    Capabilities, Guarantee, Limits, Outbound, Outcome, Rejection, Settlement, Stage, Transport,
    conformance::{self, Harness},
    memory::{MemoryBroker, MemoryTransport},
};
use tokio::time::{Instant, timeout};

/// What a result may have.
const BOUND_BYTES: usize = 4_000;

struct Memory(MemoryBroker);

impl Harness for Memory {
    type Transport = MemoryTransport;

    async fn connect(&self) -> MemoryTransport {
        self.0.consumer()
    }

    async fn send(&self, messages: Vec<Outbound>) -> Vec<String> {
        messages.into_iter().map(|message| self.0.send(message)).collect()
    }

    async fn results(&self) -> Vec<Outbound> {
        self.0.results().into_iter().filter(|result| result.topic.is_none()).collect()
    }

    fn route(&self) -> Option<&str> {
        Some("REVIEWS")
    }

    async fn routed(&self) -> Vec<Outbound> {
        let is_routed = |result: &Outbound| result.topic.as_deref() == self.route();
        self.0.results().into_iter().filter(is_routed).collect()
    }

    async fn dead_letters(&self) -> Vec<Outbound> {
        self.0.dead_letters()
    }

    fn max_message_bytes(&self) -> Option<usize> {
        Some(BOUND_BYTES)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test]
async fn the_memory_transport_conforms() {
    let claims = Capabilities::new(Guarantee::AtLeastOnce).with_lanes(true).with_attempts(true);
    let bounded = async || {
        let broker = MemoryBroker::new("INFERENCE");
        broker.refuse_above(BOUND_BYTES);
        Memory(broker)
    };
    conformance::run(claims, bounded).await;
}

const LIMITS: Limits =
    Limits { max_messages: 3, max_bytes: 1 << 20, max_wait: Duration::from_millis(250) };

fn message(payload: &'static str) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

#[tokio::test]
async fn what_a_broker_does_not_take_whole_goes_to_the_dead_letters_without_what_does_not_fit() {
    let broker = MemoryBroker::new("m");
    let key = Some(vec![b'k'; BOUND_BYTES].into());
    broker.send(Outbound { key, payload: "x".into(), ..Outbound::default() });
    broker.send(Outbound { payload: vec![b'x'; BOUND_BYTES].into(), ..message("") });
    broker.refuse_above(BOUND_BYTES);
    let mut consumer = broker.consumer();
    let deliveries = consumer.recv(LIMITS).await.expect("received");
    let reject = |delivery| (delivery, Outcome::Reject(Rejection::new(Stage::Decode, "bad")));
    consumer.settle(deliveries.into_iter().map(reject).collect()).await.expect("confirmed");
    let letters = broker.dead_letters();
    let digest = |letter: &Outbound| {
        let size = |name| letter.attributes.text(name).map(str::to_owned);
        (size("fmnist.key.bytes"), size("fmnist.payload.bytes"))
    };
    assert_eq!(digest(&letters[0]), (Some("4000".to_owned()), Some("1".to_owned())));
    assert_eq!(digest(&letters[1]), (None, Some("4000".to_owned())));
    assert!(letters.iter().all(|letter| letter.key.is_none() && letter.payload.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_reception_waits_exactly_max_wait() {
    let broker = MemoryBroker::new("m");
    let mut consumer = broker.consumer();
    broker.send(message("one"));
    let begun = Instant::now();
    assert_eq!(consumer.recv(LIMITS).await.expect("received").len(), 1);
    assert_eq!(begun.elapsed(), LIMITS.max_wait);
}

#[tokio::test(start_paused = true)]
async fn a_complete_reception_does_not_wait() {
    let broker = MemoryBroker::new("m");
    let mut consumer = broker.consumer();
    for payload in ["one", "two", "three", "four"] {
        broker.send(message(payload));
    }
    let begun = Instant::now();
    let deliveries = consumer.recv(LIMITS).await.expect("received");
    assert_eq!((deliveries.len(), begun.elapsed()), (3, Duration::ZERO));
}

#[tokio::test]
async fn outcomes_after_the_lease_are_stale_and_the_message_comes_again() {
    let broker = MemoryBroker::new("m");
    let mut consumer = broker.consumer();
    broker.send(message("one"));
    let mut deliveries = consumer.recv(LIMITS).await.expect("received");
    broker.expire_leases();
    let late = (deliveries.remove(0), Outcome::Publish(vec![message("late")]));
    let settlement = consumer.settle(vec![late]).await.expect("settled");
    assert_eq!(settlement, Settlement { stale: 1, ..Settlement::default() });
    assert!(broker.results().is_empty());
    assert_eq!(consumer.recv(LIMITS).await.expect("received")[0].attempt, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_held_confirmation_does_not_hold_up_receiving() {
    let broker = MemoryBroker::new("m");
    let mut consumer = broker.consumer();
    broker.send(message("one"));
    let deliveries = consumer.recv(LIMITS).await.expect("received");
    let hold = broker.hold_confirmations();
    let recorded = deliveries.into_iter().map(|d| (d, Outcome::Recorded)).collect();
    let mut settlement = std::pin::pin!(consumer.settle(recorded));
    assert!(timeout(Duration::from_secs(1), settlement.as_mut()).await.is_err());
    broker.send(message("two"));
    assert_eq!(consumer.recv(LIMITS).await.expect("received").len(), 1);
    drop(hold);
    assert_eq!(settlement.await.expect("settled").recorded, 1);
}
