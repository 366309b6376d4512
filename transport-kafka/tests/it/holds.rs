//! What the broker does not take for a while is held: not delivered again, not overtaken.
//!
//! Each test is one thread, so that the subscriber is its own.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
};
use stream_inference::{
    pipeline::Pulse,
    transport::{Delivery, Limits, Outbound, Outcome, Settlement, Transport, conformance::Harness},
};
use tokio::time::{Instant, sleep, timeout};
use transport_kafka::{KafkaConfig, KafkaToken};

use crate::{
    cluster,
    faults::{committed, receive, send_to},
    fresh,
    harness::{Kafka, PARTITIONS, topics},
    observed::Events,
};

const PATIENCE: Duration = Duration::from_secs(60);
const ONE: Limits = Limits { max_messages: 1, max_bytes: 1 << 20, max_wait: Duration::ZERO };

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Whose producers give up within a second, and whose offsets are committed at once.
fn impatient(cluster: &Cluster) -> Kafka {
    let mut kafka = fresh(cluster);
    for (name, value) in [("message.timeout.ms", "1000"), ("auto.commit.interval.ms", "50")] {
        kafka.0.properties.insert(name.to_owned(), value.to_owned());
    }
    kafka
}

/// Without a leader, a partition takes nothing.
fn lead(cluster: &Cluster, kafka: &Kafka, partitions: &[i32], leader: Option<i32>) {
    let [_, results, _] = topics(&kafka.0);
    for partition in partitions {
        cluster.partition_leader(results, *partition, leader).expect("led");
    }
}

fn all() -> Vec<i32> {
    (0..PARTITIONS).collect()
}

/// The answer to a message, under this key.
fn answer(delivery: Delivery<KafkaToken>, key: &'static str) -> (Delivery<KafkaToken>, Outcome) {
    let payload = delivery.payload.clone();
    let message = Outbound { key: Some(key.into()), payload, ..Outbound::default() };
    (delivery, Outcome::Publish(vec![message]))
}

/// Two keys whose answers go to different partitions, with the first one's partition.
async fn two_keys(config: &KafkaConfig) -> ([&'static str; 2], i32) {
    const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .create()
        .expect("a producer");
    let [_, _, elsewhere] = topics(config);
    let mut first = None;
    for key in KEYS {
        let record = FutureRecord::to(elsewhere).key(key).payload("probe");
        let sent = producer.send(record, PATIENCE).await.expect("confirmed");
        match first {
            None => first = Some((key, sent.partition)),
            Some((other, partition)) if partition != sent.partition => {
                return ([other, key], partition);
            }
            Some(_) => {}
        }
    }
    panic!("all keys go to one partition");
}

async fn until_held(events: &Events) {
    let deadline = Instant::now() + PATIENCE;
    while !events.text().contains("waiting for results topic") {
        assert!(Instant::now() < deadline, "nothing is held: {}", events.text());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn payloads(kafka: &Kafka) -> Vec<bytes::Bytes> {
    kafka.results().await.into_iter().map(|result| result.payload).collect()
}

#[tokio::test]
async fn what_a_results_topic_does_not_take_is_held_and_not_delivered_again() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    for payload in ["1", "2", "3"] {
        send_to(&kafka.0, 0, payload).await;
    }
    let pulse = Pulse::new(Duration::ZERO);
    let mut transport = kafka.connect().await.with_pulse(&pulse);
    let deliveries = receive(&mut transport, 3).await;
    assert!(pulse.vitals().is_well());
    lead(&cluster, &kafka, &all(), None);
    let batch = deliveries.into_iter().map(|delivery| answer(delivery, "a")).collect();
    let mut settlement = Box::pin(transport.settle(batch));
    until_held(&events).await;
    assert!(futures_util::poll!(&mut settlement).is_pending());
    let vitals = pulse.vitals();
    let [_, results, _] = topics(&kafka.0);
    let reason = vitals.reason.clone().expect("a reason");
    assert!(reason.contains(&format!("results topic {results}")), "{reason}");
    assert!(!vitals.is_well() && vitals.is_alive());
    lead(&cluster, &kafka, &all(), Some(1));
    let settled = timeout(PATIENCE, settlement).await.expect("in time").expect("confirmed");
    assert_eq!(settled, Settlement { published: 3, ..Settlement::default() });
    assert_eq!(payloads(&kafka).await, ["1", "2", "3"]);
    assert!(pulse.vitals().is_well());
    assert!(events.text().contains("not waited for any more"), "{}", events.text());
    // The next to come is the next that is sent.
    send_to(&kafka.0, 0, "4").await;
    assert_eq!(receive(&mut transport, 1).await[0].payload, "4");
}

#[tokio::test]
async fn a_route_that_takes_nothing_holds_its_message_and_repeats_nothing_of_the_results_topic() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    send_to(&kafka.0, 0, "1").await;
    let mut transport = kafka.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    let route = kafka.0.routes[0].as_str();
    for partition in all() {
        cluster.partition_leader(route, partition, None).expect("led by nobody");
    }
    let part = Outbound { payload: delivery.payload.clone(), ..Outbound::default() };
    let other = Outbound { topic: Some(route.into()), ..part.clone() };
    let mut settlement =
        Box::pin(transport.settle(vec![(delivery, Outcome::Publish(vec![other, part]))]));
    until_held(&events).await;
    assert!(events.text().contains(&format!("waiting for results topic {route}")));
    assert!(futures_util::poll!(&mut settlement).is_pending());
    assert_eq!(committed(&kafka.0).await[0], None);
    for partition in all() {
        cluster.partition_leader(route, partition, Some(1)).expect("led");
    }
    let settled = timeout(PATIENCE, settlement).await.expect("in time").expect("confirmed");
    assert_eq!(settled, Settlement { published: 1, ..Settlement::default() });
    let routed: Vec<_> = kafka.routed().await.into_iter().map(|part| part.payload).collect();
    assert_eq!((payloads(&kafka).await, routed), (vec!["1".into()], vec!["1".into()]));
}

#[tokio::test]
async fn what_is_confirmed_is_kept_while_another_lane_is_held() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    let ([held, taken], partition) = two_keys(&kafka.0).await;
    send_to(&kafka.0, 0, "held").await;
    send_to(&kafka.0, 1, "taken").await;
    let mut transport = kafka.connect().await;
    let deliveries = receive(&mut transport, 2).await;
    lead(&cluster, &kafka, &[partition], None);
    let key = |payload: &[u8]| if payload == b"held" { held } else { taken };
    let batch = deliveries.into_iter().map(|d| {
        let key = key(&d.payload);
        answer(d, key)
    });
    let mut settlement = Box::pin(transport.settle(batch.collect()));
    let deadline = Instant::now() + PATIENCE;
    while committed(&kafka.0).await[1] != Some(1) {
        assert!(Instant::now() < deadline, "what was confirmed is not acknowledged");
    }
    until_held(&events).await;
    assert_eq!(committed(&kafka.0).await[0], None);
    assert!(futures_util::poll!(&mut settlement).is_pending());
    lead(&cluster, &kafka, &[partition], Some(1));
    let settled = timeout(PATIENCE, settlement).await.expect("in time").expect("confirmed");
    assert_eq!(settled, Settlement { published: 2, ..Settlement::default() });
    transport.drain(PATIENCE).await.expect("drained");
    assert_eq!(committed(&kafka.0).await[..2], [Some(1), Some(1)]);
}

#[tokio::test]
async fn nothing_of_a_lane_is_published_past_a_message_that_is_held() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    let ([held, taken], partition) = two_keys(&kafka.0).await;
    for payload in ["1", "2", "3", "other lane"] {
        send_to(&kafka.0, i32::from(payload.len() > 1), payload).await;
    }
    let mut transport = kafka.connect().await;
    let mut deliveries = receive(&mut transport, 4).await;
    deliveries.sort_by_key(|delivery| (delivery.source.partition, delivery.source.offset));
    let mut next = || deliveries.remove(0);
    let (first, second, third, other) = (next(), next(), next(), next());
    lead(&cluster, &kafka, &[partition], None);
    let mut settlements = vec![transport.settle(vec![answer(first, held)])];
    until_held(&events).await;
    settlements.push(transport.settle(vec![answer(second, taken)]));
    settlements.push(transport.settle(vec![answer(third, taken)]));
    // Its report comes when those of what was sent before it would have come.
    let settled = transport.settle(vec![answer(other, taken)]).await.expect("confirmed");
    assert_eq!(settled, Settlement { published: 1, ..Settlement::default() });
    lead(&cluster, &kafka, &[partition], Some(1));
    for settlement in settlements {
        let settled = timeout(PATIENCE, settlement).await.expect("in time").expect("confirmed");
        assert_eq!(settled, Settlement { published: 1, ..Settlement::default() });
    }
    let of_key = |key: &'static str| {
        let kafka = &kafka;
        async move {
            let results = kafka.results().await.into_iter();
            let of_key = results.filter(|result| result.key.as_deref() == Some(key.as_bytes()));
            of_key.map(|result| result.payload).collect::<Vec<_>>()
        }
    };
    assert_eq!(of_key(held).await, ["1"]);
    assert_eq!(of_key(taken).await, ["other lane", "2", "3"]);
}

#[tokio::test]
async fn a_transport_that_is_dropped_holds_nothing_and_its_messages_come_to_the_next() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    send_to(&kafka.0, 0, "1").await;
    send_to(&kafka.0, 0, "2").await;
    let mut transport = kafka.connect().await;
    let mut deliveries = receive(&mut transport, 2).await;
    lead(&cluster, &kafka, &all(), None);
    let second = deliveries.pop().map(|delivery| answer(delivery, "a"));
    let first = deliveries.pop().map(|delivery| answer(delivery, "a"));
    let held = transport.settle(first.into_iter().collect());
    until_held(&events).await;
    let waiting = transport.settle(second.into_iter().collect());
    // Lets the courier take it.
    tokio::task::yield_now().await;
    let drained = transport.drain(Duration::from_millis(100)).await;
    assert!(drained.expect_err("not confirmed").to_string().contains("not confirmed"));
    let settled = timeout(PATIENCE, held).await.expect("in time").expect("it ends");
    assert_eq!(settled, Settlement { retried: 1, ..Settlement::default() });
    let settled = timeout(PATIENCE, waiting).await.expect("in time").expect("it ends");
    assert_eq!(settled, Settlement { retried: 1, ..Settlement::default() });
    lead(&cluster, &kafka, &all(), Some(1));
    let again = receive(&mut kafka.connect().await, 2).await;
    let payloads: Vec<_> = again.iter().map(|delivery| delivery.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2"]);
}

#[tokio::test]
async fn a_revocation_ends_what_is_held_of_its_partitions_and_leaves_the_rest() {
    let (events, _logging) = Events::new();
    let cluster = cluster();
    let kafka = impatient(&cluster);
    for partition in all() {
        send_to(&kafka.0, partition, "x").await;
    }
    let mut first = kafka.connect().await;
    let deliveries = receive(&mut first, PARTITIONS as usize).await;
    lead(&cluster, &kafka, &all(), None);
    let batch = deliveries.into_iter().map(|delivery| answer(delivery, "a")).collect();
    let settlement = first.settle(batch);
    until_held(&events).await;
    let mut second = kafka.connect().await;
    let moved = timeout(PATIENCE, second.recv(ONE)).await.expect("in time").expect("received");
    assert_eq!(moved.len(), 1);
    lead(&cluster, &kafka, &all(), Some(1));
    let settled = timeout(PATIENCE, settlement).await.expect("in time").expect("it ends");
    let kept = PARTITIONS as usize / 2;
    assert_eq!(settled, Settlement { published: kept, stale: kept, ..Settlement::default() });
    drop(moved);
}
