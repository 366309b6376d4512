//! Faults that only a server of our own can be told to have.

use std::time::Duration;

use google_cloud_pubsub::model::DeadLetterPolicy;
use stream_inference::{
    pipeline::{BatchConfig, Pulse},
    transport::{
        Delivery, Limits, Outbound, Outcome, Rejection, Settlement, Stage, Transport,
        TransportError, conformance::Harness,
    },
};
use tokio::time::timeout;
use transport_pubsub::{PubSubToken, PubSubTransport};

use crate::harness::{Emulated, LIMITS, ROUTE, echo, numbered, receive, settle};

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

/// Whether a settlement is not over while the server answers a few questions in between.
async fn is_held(settled: &mut (impl Future + Unpin)) -> bool {
    timeout(Duration::from_millis(300), settled).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_results_topic_holds_what_it_concerns_and_costs_no_delivery_attempt() {
    let emulated = Emulated::with_input(|input, config| {
        let topic = config.topic_name(&config.dead_letter_topic);
        let policy = DeadLetterPolicy::new().set_dead_letter_topic(topic);
        input.set_dead_letter_policy(policy.set_max_delivery_attempts(5))
    })
    .await;
    let sent = emulated.send(numbered(4)).await;
    let pulse = Pulse::new(Duration::ZERO);
    let mut transport = emulated.connect().await.with_pulse(&pulse);
    let mut deliveries = receive(&mut transport, 4).await;
    let results = emulated.config.topic_name("MODEL-INFERENCE-RESULTS");
    emulated.server.0.begin_outage(&results);
    let rejection = Outcome::Reject(Rejection::new(Stage::Decode, "no picture"));
    let rejected = deliveries.remove(3);
    let poison = rejected.id.clone();
    let rejected = transport.settle(vec![(rejected, rejection)]);
    let mut answers = Box::pin(transport.settle(deliveries.into_iter().map(echo).collect()));
    // What the other topic confirms is acknowledged meanwhile.
    let expected = Settlement { rejected: 1, ..Settlement::default() };
    assert_eq!(rejected.await.expect("confirmed"), expected);
    assert!(is_held(&mut answers).await, "it was settled without a confirmation");
    let reason = pulse.vitals().reason.unwrap_or_default();
    assert!(reason.contains(&format!("waits for topic {results}")), "{reason}");
    // New messages come, although others are held.
    let more = emulated.send(numbered(1)).await;
    let late = receive(&mut transport, 1).await;
    assert_eq!(late[0].id, more[0], "a held message was given back");
    let late = transport.settle(late.into_iter().map(echo).collect());

    emulated.server.0.end_outage(&results);
    let expected = Settlement { published: 3, ..Settlement::default() };
    assert_eq!(timeout(PATIENCE, answers).await.expect("in time").expect("confirmed"), expected);
    let expected = Settlement { published: 1, ..Settlement::default() };
    assert_eq!(late.await.expect("confirmed"), expected);
    emulated.results().await;
    let mut answered = emulated.answered();
    answered.sort_unstable();
    let expected: Vec<_> = sent.into_iter().filter(|id| *id != poison).chain(more).collect();
    assert_eq!(answered, expected, "each once");
    assert!(pulse.vitals().reason.is_none_or(|reason| !reason.contains("waits for")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_route_holds_its_message_and_repeats_nothing_of_the_results_topic() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let pulse = Pulse::new(Duration::ZERO);
    let mut transport = emulated.connect().await.with_pulse(&pulse);
    let delivery = receive(&mut transport, 1).await.remove(0);
    let (delivery, Outcome::Publish(mut parts)) = echo(delivery) else {
        unreachable!("it answers")
    };
    parts.insert(0, Outbound { topic: Some(ROUTE.into()), ..parts[0].clone() });
    let reviews = emulated.config.topic_name(ROUTE);
    emulated.server.0.begin_outage(&reviews);
    let mut settled = Box::pin(transport.settle(vec![(delivery, Outcome::Publish(parts))]));
    // Longer than the client tries, and so into the pauses between attempts.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let waits = format!("waits for topic {reviews}");
    while !pulse.vitals().reason.is_some_and(|reason| reason.contains(&waits)) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", pulse.vitals().reason);
        assert!(is_held(&mut settled).await, "it was settled without a confirmation");
    }
    emulated.server.0.end_outage(&reviews);
    let expected = Settlement { published: 1, ..Settlement::default() };
    assert_eq!(timeout(PATIENCE, settled).await.expect("in time").expect("confirmed"), expected);
    emulated.results().await;
    assert_eq!(emulated.answered(), sent, "once");
    let routed = emulated.routed().await;
    assert_eq!((routed.len(), routed[0].attributes.text("id")), (1, Some(&*sent[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_to_a_topic_that_is_no_route_is_an_error_and_its_message_comes_again() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    let elsewhere = Outbound { topic: Some("elsewhere".into()), ..Outbound::default() };
    let settled = transport.settle(vec![(delivery, Outcome::Publish(vec![elsewhere]))]).await;
    let error = settled.expect_err("refused").to_string();
    assert!(error.contains("elsewhere, which is not in pubsub.routes"), "{error}");
    assert_eq!(receive(&mut transport, 1).await[0].id, sent[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_held_message_in_its_lane_waits_behind_it_and_other_lanes_do_not() {
    let emulated = Emulated::new().await;
    let keyed = |key: &'static str| Outbound { key: Some(key.into()), ..numbered(1).remove(0) };
    let a = emulated.send(vec![keyed("a"), keyed("a"), keyed("a")]).await;
    let b = emulated.send(vec![keyed("b")]).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 4).await;
    let mut of_a: Vec<_> = Vec::new();
    let mut of_b: Vec<_> = Vec::new();
    for delivery in deliveries {
        let lane = if delivery.key.as_deref() == Some(b"a") { &mut of_a } else { &mut of_b };
        lane.push(delivery);
    }
    let dead_letters = emulated.config.topic_name(&emulated.config.dead_letter_topic);
    emulated.server.0.begin_outage(&dead_letters);
    let poison = Outcome::Reject(Rejection::new(Stage::Decode, "no picture"));
    let third = of_a.pop().expect("three");
    let second = of_a.pop().expect("three");
    let first = of_a.pop().expect("three");
    let mut held = Box::pin(transport.settle(vec![(first, poison), echo(second)]));
    assert!(is_held(&mut held).await);
    let behind = transport.settle(vec![echo(third)]);
    let other = transport.settle(of_b.into_iter().map(echo).collect());
    let published = Settlement { published: 1, ..Settlement::default() };
    assert_eq!(other.await.expect("confirmed"), published);
    emulated.server.0.end_outage(&dead_letters);
    let expected = Settlement { published: 1, rejected: 1, ..Settlement::default() };
    assert_eq!(timeout(PATIENCE, held).await.expect("in time").expect("confirmed"), expected);
    assert_eq!(behind.await.expect("confirmed"), published);
    emulated.results().await;
    let mut answered = emulated.answered();
    answered.retain(|id| *id != b[0]);
    assert_eq!(answered, a[1..], "in the lane's order, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_drains_in_an_outage_gives_back_what_it_holds_and_says_so() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 1).await;
    let results = emulated.config.topic_name("MODEL-INFERENCE-RESULTS");
    emulated.server.0.begin_outage(&results);
    let mut held = Box::pin(transport.settle(deliveries.into_iter().map(echo).collect()));
    assert!(is_held(&mut held).await);
    let error = transport.drain(Duration::from_secs(10)).await.expect_err("not all is confirmed");
    assert!(matches!(error, TransportError::Aborted { .. }), "{error}");
    let expected = Settlement { retried: 1, ..Settlement::default() };
    assert_eq!(held.await.expect("settled"), expected);
    emulated.server.0.end_outage(&results);
    let again = receive(&mut emulated.connect().await, 1).await;
    assert_eq!(again[0].id, sent[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_whose_lease_has_gone_is_stale_and_comes_again() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 1).await;
    let results = emulated.config.topic_name("MODEL-INFERENCE-RESULTS");
    emulated.server.0.begin_outage(&results);
    let held = transport.settle(deliveries.into_iter().map(echo).collect());
    emulated.server.0.fail_streams();
    let error = timeout(PATIENCE, transport.recv(LIMITS)).await.expect("in time").unwrap_err();
    assert!(matches!(error, TransportError::Unavailable { .. }), "{error}");
    let stale = Settlement { stale: 1, ..Settlement::default() };
    assert_eq!(timeout(PATIENCE, held).await.expect("in time").expect("settled"), stale);
    emulated.server.0.end_outage(&results);
    let again = receive(&mut transport, 1).await;
    assert_eq!(again[0].id, sent[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_count_in_what_may_be_received_at_once() {
    let emulated = Emulated::new().await;
    let attributes = || (0..100).map(|n| (format!("{n:0256}"), "v".repeat(1024))).collect();
    let message = || Outbound { attributes: attributes(), ..numbered(1).remove(0) };
    emulated.send((0..5).map(|_| message()).collect()).await;
    let batch = BatchConfig { max_bytes: 300_000, ..BatchConfig::default() };
    let mut transport =
        PubSubTransport::connect_within(&emulated.config, &batch).await.expect("connected");
    // Each has 128,001 bytes: two fit, with the third the server's bound is passed, not this one.
    let limits = Limits { max_bytes: 300_000, max_wait: Duration::from_millis(500), ..LIMITS };
    let first = timeout(PATIENCE, transport.recv(limits)).await.expect("in time").expect("two");
    assert_eq!(first.len(), 2);
    let more = timeout(Duration::from_millis(500), transport.recv(limits)).await;
    assert!(more.is_err(), "received beyond the bound");
    settle_all(&mut transport, first).await;
    let rest = receive(&mut transport, 2).await;
    assert_eq!(rest.len(), 2);
}
