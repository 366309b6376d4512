//! What every transport does: nothing is lost, and what is settled does not come again.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Harness,
    harness::{
        answer, answer_until, answered, assert_nothing_else_waits, given, ids, limits, messages,
        publish, receive, settle,
    },
};
use crate::names;
use crate::transport::{
    Attributes, Limits, Outbound, Outcome, Rejection, Settlement, Stage, Transport,
};

const GRACE: Duration = Duration::from_secs(20);

pub(super) async fn settled_messages_are_answered_once_and_not_delivered_again<H: Harness>(h: &H) {
    let (sent, mut transport, deliveries) = given(h, 5).await;
    let batch = deliveries.into_iter().map(publish).collect();
    let settlement = settle::<H>(&mut transport, batch).await;
    assert_eq!(settlement, Settlement { published: 5, ..Settlement::default() });
    assert_nothing_else_waits(h, &mut transport, "a").await;
    transport.drain(GRACE).await.expect("drained");

    let results = h.results().await;
    assert_eq!(answered(&results)[..5], sent);
    assert_eq!(results.len(), 6);
    assert_eq!(results[3].payload, "a 3");
    assert_eq!(results[3].key.as_deref(), Some(&b"a"[..]));
    assert_nothing_else_waits(h, &mut h.connect().await, "a").await;
}

pub(super) async fn recorded_messages_are_acknowledged_without_a_result<H: Harness>(h: &H) {
    let (_, mut transport, deliveries) = given(h, 3).await;
    let batch = deliveries.into_iter().map(|d| (d, Outcome::Recorded)).collect();
    let settlement = settle::<H>(&mut transport, batch).await;
    assert_eq!(settlement, Settlement { recorded: 3, ..Settlement::default() });
    assert!(h.results().await.is_empty());
    assert_nothing_else_waits(h, &mut transport, "a").await;
}

pub(super) async fn a_rejected_message_reaches_the_dead_letters_untouched<H: Harness>(h: &H) {
    let payload = Bytes::from_static(b"{\"start_idx\": \xff\x00");
    let attributes: Attributes = [("trace", "7"), ("shop", "north")].into_iter().collect();
    let message = Outbound {
        key: Some("a".into()),
        attributes,
        payload: payload.clone(),
        ..Outbound::default()
    };
    let sent = h.send(vec![message]).await;
    let mut transport = h.connect().await;
    let delivery = receive(h, &mut transport, 1).await.remove(0);
    let reason = Rejection::new(Stage::Decode, "expected a number, found 0xff");
    let settlement = settle::<H>(&mut transport, vec![(delivery, Outcome::Reject(reason))]).await;
    assert_eq!(settlement, Settlement { rejected: 1, ..Settlement::default() });

    let letters = h.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload, payload);
    assert_eq!(letters[0].key.as_deref(), Some(&b"a"[..]));
    for (name, value) in [
        ("trace", "7"),
        ("shop", "north"),
        (&*names::header("id"), &sent[0]),
        ("__connect.errors.stage", "DECODE"),
        ("__connect.errors.exception.message", "expected a number, found 0xff"),
    ] {
        assert_eq!(letters[0].attributes.text(name), Some(value), "{name}");
    }
    assert!(letters[0].attributes.text("__connect.errors.topic").is_some());
    assert!(h.results().await.is_empty());
    assert_nothing_else_waits(h, &mut transport, "a").await;
}

pub(super) async fn answers_in_several_parts_stay_in_order<H: Harness>(h: &H) {
    let (_, mut transport, mut received) = given(h, 1).await;
    let delivery = received.remove(0);
    let part = |k: usize| Outbound { payload: format!("part {k}").into(), ..answer(&delivery) };
    let parts = Outcome::Publish((1..=3).map(part).collect());
    let settlement = settle::<H>(&mut transport, vec![(delivery, parts)]).await;
    assert_eq!(settlement, Settlement { published: 1, ..Settlement::default() });
    let payloads: Vec<_> = h.results().await.into_iter().map(|r| r.payload).collect();
    assert_eq!(payloads, ["part 1", "part 2", "part 3"]);
}

pub(super) async fn a_result_that_is_too_large_is_dead_lettered_at_publish<H: Harness>(h: &H) {
    let max_bytes = h.max_message_bytes().expect("a bound");
    let (sent, mut transport, deliveries) = given(h, 3).await;
    let mut batch: Vec<_> = deliveries.into_iter().map(publish).collect();
    let Outcome::Publish(results) = &mut batch[1].1 else { unreachable!("it is published") };
    results[0].payload = vec![b'x'; max_bytes + 1].into();
    let settlement = settle::<H>(&mut transport, batch).await;
    assert_eq!(settlement, Settlement { published: 2, rejected: 1, ..Settlement::default() });
    assert_eq!(answered(&h.results().await), [&*sent[0], &*sent[2]]);

    let letters = h.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].key.as_deref(), &letters[0].payload[..]),
        (Some(&b"a"[..]), &b"a 1"[..])
    );
    let text = |name| letters[0].attributes.text(name).unwrap_or_default();
    assert_eq!(
        (text(&names::header("id")), text("__connect.errors.stage")),
        (&*sent[1], "PUBLISH")
    );
    assert_nothing_else_waits(h, &mut transport, "a").await;
}

pub(super) async fn results_arrive_on_the_topics_that_they_name<H: Harness>(h: &H) {
    let route = h.route().expect("a route");
    let (sent, mut transport, deliveries) = given(h, 3).await;
    assert!(transport.has_route(route), "{route}");
    // The second to the route, of the third a part to each.
    let batch = deliveries.into_iter().zip(0..).map(|(delivery, n)| {
        let part = answer(&delivery);
        let other = Outbound { topic: Some(route.into()), ..part.clone() };
        let parts = match n {
            0 => vec![part],
            1 => vec![other],
            _ => vec![part, Outbound { payload: "second part".into(), ..other }],
        };
        (delivery, Outcome::Publish(parts))
    });
    let settlement = settle::<H>(&mut transport, batch.collect()).await;
    assert_eq!(settlement, Settlement { published: 3, ..Settlement::default() });
    assert_eq!(answered(&h.results().await), [&*sent[0], &*sent[2]]);
    let routed = h.routed().await;
    assert_eq!(answered(&routed), sent[1..]);
    assert_eq!((&*routed[0].payload, &*routed[1].payload), (&b"a 1"[..], &b"second part"[..]));
    assert_eq!(routed[0].key.as_deref(), Some(&b"a"[..]));
    assert_nothing_else_waits(h, &mut transport, "a").await;
}

pub(super) async fn limits_hold<H: Harness>(h: &H) {
    let mut batch = messages("a", 0..12);
    batch.iter_mut().for_each(|message| message.payload = vec![b'x'; 1000].into());
    h.send(batch).await;
    let mut transport = h.connect().await;
    let mut count = 0;
    let mut next = async |limits: Limits| {
        let received = timeout(h.patience(), transport.recv(limits)).await;
        let deliveries = received.expect("in time").expect("received");
        count += deliveries.len();
        let length = deliveries.len();
        settle::<H>(&mut transport, deliveries.into_iter().map(publish).collect()).await;
        length
    };
    let wait = Duration::from_millis(500);
    let two = next(Limits { max_messages: 2, max_bytes: 1 << 20, max_wait: wait }).await;
    assert!((1..=2).contains(&two), "{two} messages where 2 were allowed");
    let three = next(Limits { max_messages: 12, max_bytes: 3_500, max_wait: wait }).await;
    assert!((1..=3).contains(&three), "{three} kB where 3.5 kB were allowed");
    let large = next(Limits { max_messages: 12, max_bytes: 10, max_wait: wait }).await;
    assert_eq!(large, 1, "the first message comes however large it is, and alone");
    while count < 12 {
        let mut rest = receive(h, &mut transport, 1).await;
        count += rest.len();
        let rest = rest.drain(..).map(publish).collect();
        settle::<H>(&mut transport, rest).await;
    }
}

pub(super) async fn a_dropped_reception_loses_nothing<H: Harness>(h: &H) {
    let mut transport = h.connect().await;
    let wait = Limits { max_wait: Duration::from_secs(60), ..limits(100) };
    assert!(timeout(Duration::from_millis(10), transport.recv(wait)).await.is_err());
    let sent = h.send(messages("a", 0..3)).await;
    // The reception may or may not have taken the messages when it is dropped.
    let _ = timeout(Duration::from_millis(300), transport.recv(wait)).await;
    let deliveries = receive(h, &mut transport, 3).await;
    assert_eq!(ids(&deliveries), sent);
}

pub(super) async fn a_dropped_settlement_is_carried_out_all_the_same<H: Harness>(h: &H) {
    let (sent, mut transport, deliveries) = given(h, 3).await;
    drop(transport.settle(deliveries.into_iter().map(publish).collect()));
    let deadline = Instant::now() + h.patience();
    while answered(&h.results().await) != sent {
        assert!(Instant::now() < deadline, "dropping the future cancelled the settlement");
        sleep(Duration::from_millis(100)).await;
    }
    assert_nothing_else_waits(h, &mut transport, "a").await;
}

pub(super) async fn an_unsettled_drop_is_delivered_again<H: Harness>(h: &H) {
    let sent = h.send(messages("a", 0..3)).await;
    let mut transport = h.connect().await;
    drop(receive(h, &mut transport, 3).await);
    let received = answer_until(h, &mut transport, &sent).await;
    assert_eq!(received, sent);
}

pub(super) async fn a_retried_message_is_delivered_again_with_its_id<H: Harness>(h: &H) {
    let (sent, mut transport, mut received) = given(h, 1).await;
    let first = received.remove(0);
    let settlement = settle::<H>(&mut transport, vec![(first, Outcome::Retry)]).await;
    assert_eq!(settlement, Settlement { retried: 1, ..Settlement::default() });
    let again = receive(h, &mut transport, 1).await.remove(0);
    assert_eq!(again.id, sent[0]);
    assert_eq!(again.payload, "a 0");
    settle::<H>(&mut transport, vec![publish(again)]).await;
    assert_eq!(answered(&h.results().await), sent);
}

pub(super) async fn a_crash_loses_nothing<H: Harness>(h: &H) {
    let (sent, mut transport, mut deliveries) = given(h, 10).await;
    let rest = deliveries.split_off(4);
    settle::<H>(&mut transport, deliveries.into_iter().map(publish).collect()).await;
    drop(transport);
    drop(rest);

    answer_until(h, &mut h.connect().await, &sent[4..]).await;
    let found: BTreeSet<_> = answered(&h.results().await).into_iter().collect();
    assert_eq!(found, sent.into_iter().collect());
}

pub(super) async fn a_settled_message_does_not_acknowledge_an_earlier_one<H: Harness>(h: &H) {
    let (sent, mut transport, mut deliveries) = given(h, 2).await;
    let second = deliveries.pop().expect("two messages");
    settle::<H>(&mut transport, vec![publish(second)]).await;
    transport.drain(GRACE).await.expect("drained");
    drop(deliveries);

    let received = answer_until(h, &mut h.connect().await, &sent[..1]).await;
    assert_eq!(received[0], sent[0]);
}

pub(super) async fn a_drained_consumer_leaves_the_rest_to_the_next<H: Harness>(h: &H) {
    let sent = h.send(messages("a", 0..6)).await;
    let mut transport = h.connect().await;
    let deliveries = receive(h, &mut transport, 2).await;
    let settlement = transport.settle(deliveries.into_iter().map(publish).collect());
    settlement.await.expect("the broker confirms");
    let begun = Instant::now();
    transport.drain(GRACE).await.expect("drained");
    assert!(begun.elapsed() <= GRACE, "draining took {:?}", begun.elapsed());

    let mut next = h.connect().await;
    assert_eq!(answer_until(h, &mut next, &sent[2..]).await, sent[2..]);
    assert_eq!(answered(&h.results().await), sent);
}

pub(super) async fn messages_of_a_lane_keep_their_order<H: Harness>(h: &H) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for n in (0..40).step_by(4) {
        a.extend(h.send(messages("a", n..n + 4)).await);
        b.extend(h.send(messages("b", n..n + 4)).await);
    }
    let mut transport = h.connect().await;
    let deliveries = receive(h, &mut transport, 80).await;
    for (key, sent) in [("a", a), ("b", b)] {
        let of_key = deliveries.iter().filter(|d| d.key.as_deref() == Some(key.as_bytes()));
        let (received, lanes): (Vec<_>, Vec<_>) =
            of_key.map(|d| (d.id.clone(), d.lane.clone())).unzip();
        assert_eq!(received, sent);
        assert!(lanes[0].is_some() && lanes.iter().all(|lane| *lane == lanes[0]));
    }
}

pub(super) async fn a_retry_pulls_back_later_messages_of_its_lane<H: Harness>(h: &H) {
    let (sent, mut transport, received) = given(h, 4).await;
    let mut deliveries = received.into_iter().map(publish);
    let mut next = || deliveries.next().expect("four messages");

    let (first, (second, _), third, fourth) = (next(), next(), next(), next());
    // The second settlement was accepted before the first was confirmed.
    let one = transport.settle(vec![first, (second, Outcome::Retry), third]);
    let two = transport.settle(vec![fourth]);
    let expected = Settlement { published: 1, retried: 2, ..Settlement::default() };
    assert_eq!(one.await.expect("confirmed"), expected);
    let expected = Settlement { retried: 1, ..Settlement::default() };
    assert_eq!(two.await.expect("confirmed"), expected);
    assert_eq!(answered(&h.results().await), sent[..1]);

    assert_eq!(answer_until(h, &mut transport, &sent[1..]).await, sent[1..]);
    assert_eq!(answered(&h.results().await), sent);
}

pub(super) async fn a_retry_leaves_other_lanes_alone<H: Harness>(h: &H) {
    let (a, mut transport, mut received) = given(h, 1).await;
    let first = received.remove(0);
    // Keys may share a partition: look for one with a lane of its own.
    let mut other = None;
    for n in 0..64 {
        h.send(messages(&format!("b{n}"), 0..1)).await;
        let delivery = receive(h, &mut transport, 1).await.remove(0);
        if delivery.lane != first.lane {
            other = Some(delivery);
            break;
        }
        settle::<H>(&mut transport, vec![publish(delivery)]).await;
    }
    let other = other.expect("more than one lane");
    let id = other.id.clone();
    let one = transport.settle(vec![(first, Outcome::Retry)]);
    let two = transport.settle(vec![publish(other)]);
    assert_eq!(one.await.expect("confirmed").retried, 1);
    assert_eq!(two.await.expect("confirmed").published, 1);
    assert!(answered(&h.results().await).contains(&id));
    let received = answer_until(h, &mut transport, &a).await;
    assert_eq!(received.iter().filter(|i| **i == id).count(), 0);
}

pub(super) async fn a_message_that_its_neighbour_pulls_back_has_no_further_attempt<H: Harness>(
    h: &H,
) {
    let sent = h.send(messages("a", 0..3)).await;
    let mut transport = h.connect().await;
    let counts = transport.capabilities().attempts;
    for failures in 1..=3 {
        let deliveries = receive(h, &mut transport, 3).await;
        assert_eq!(ids(&deliveries), sent);
        let attempts: Vec<_> = deliveries.iter().map(|delivery| delivery.attempt).collect();
        let expected = [failures, 1, 1].map(|attempt| counts.then_some(attempt));
        assert_eq!(attempts, expected, "the first one alone fails");
        let mut outcomes: Vec<_> = deliveries.into_iter().map(publish).collect();
        outcomes[0].1 = Outcome::Retry;
        let settlement = settle::<H>(&mut transport, outcomes).await;
        assert_eq!(settlement, Settlement { retried: 3, ..Settlement::default() });
    }
}

pub(super) async fn attempts_are_counted<H: Harness>(h: &H) {
    h.send(messages("a", 0..1)).await;
    let mut transport = h.connect().await;
    for attempt in 1..=3 {
        let delivery = receive(h, &mut transport, 1).await.remove(0);
        assert_eq!(delivery.attempt, Some(attempt));
        settle::<H>(&mut transport, vec![(delivery, Outcome::Retry)]).await;
    }
}
