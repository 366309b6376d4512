//! What a `read_committed` reader sees of a transport that claims exactly once.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    Harness,
    harness::{
        Claim, answer, answer_until, answered, assert_nothing_else_waits, given, ids, messages,
        publish, receive, settle,
    },
};
use crate::names;
use crate::transport::{
    Delivery, Outbound, Outcome, Rejection, Settlement, Stage, Transport, TransportError,
};

/// How often each id has an end: a result or a dead letter.
async fn ends<H: Harness>(h: &H) -> BTreeMap<String, usize> {
    let letters = h.dead_letters().await;
    let dead =
        letters.iter().map(|l| l.attributes.text(&names::header("id")).expect("an id").to_owned());
    let mut ends = BTreeMap::new();
    for id in answered(&h.results().await).into_iter().chain(dead) {
        *ends.entry(id).or_default() += 1;
    }
    ends
}

async fn assert_each_ended_once<H: Harness>(h: &H, sent: &[String]) {
    let expected: BTreeMap<String, usize> = sent.iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(ends(h).await, expected, "how often each id is seen");
}

/// Dead-letters every fifth message, answers the others.
fn judge<T>(delivery: Delivery<T>) -> (Delivery<T>, Outcome) {
    match delivery.attributes.text("number").and_then(|number| number.parse::<usize>().ok()) {
        Some(number) if number % 5 == 4 => {
            let rejection = Rejection::new(Stage::Infer, "every fifth");
            (delivery, Outcome::Reject(rejection))
        }
        _ => publish(delivery),
    }
}

pub(super) async fn every_id_is_seen_once_under_injected_aborts<H: Harness>(h: &H) {
    let mut sent = Vec::new();
    for key in ["a", "b", "c"] {
        sent.extend(h.send(messages(key, 0..20)).await);
    }
    let mut transport = h.connect().await;
    let (mut settled, mut round, mut aborts) = (0, 0, 0);
    let deadline = Instant::now() + 4 * h.patience();
    while settled < sent.len() {
        assert!(Instant::now() < deadline, "{settled} of {} messages are settled", sent.len());
        let batch: Vec<_> = receive(h, &mut transport, 1).await.into_iter().map(judge).collect();
        let abort = round % 2 == 0 && aborts < 5;
        if abort {
            h.abort_settlements(&mut transport, 1).await;
            aborts += 1;
        }
        round += 1;
        match (abort, transport.settle(batch).await) {
            (false, Ok(Settlement { published, rejected, .. })) => settled += published + rejected,
            (true, Err(TransportError::Aborted { .. })) => {}
            (_, result) => panic!("abort injected: {abort}, found {result:?}"),
        }
    }
    assert!(aborts > 0);
    assert_each_ended_once(h, &sent).await;
    transport.drain(h.patience()).await.expect("drained");
    assert_nothing_else_waits(h, &mut h.connect().await, "a").await;
}

/// What is answered by a part on the results topic and one on the route.
pub(super) async fn parts_on_two_topics_are_seen_both_or_neither<H: Harness>(h: &H) {
    let route = h.route().expect("a route");
    let on_both = |delivery: Delivery<Claim<H>>| {
        let part = answer(&delivery);
        let other = Outbound { topic: Some(route.into()), ..part.clone() };
        (delivery, Outcome::Publish(vec![part, other]))
    };
    let (sent, mut transport, received) = given(h, 10).await;
    let mut deliveries = received.into_iter().map(on_both);
    h.abort_settlements(&mut transport, 1).await;
    let aborted = transport.settle(deliveries.by_ref().take(4).collect()).await;
    assert!(matches!(aborted, Err(TransportError::Aborted { .. })), "{aborted:?}");
    assert_eq!((h.results().await, h.routed().await), (vec![], vec![]));
    drop(deliveries);
    let mut settled = 0;
    while settled < sent.len() {
        let again = receive(h, &mut transport, 1).await.into_iter().map(on_both).collect();
        settled += settle::<H>(&mut transport, again).await.published;
    }
    assert_eq!(answered(&h.results().await), sent);
    assert_eq!(answered(&h.routed().await), sent);
}

pub(super) async fn an_abort_takes_the_settlements_with_it_that_it_was_merged_with<H: Harness>(
    h: &H,
) {
    let (sent, mut transport, received) = given(h, 30).await;
    let mut deliveries = received.into_iter().map(publish);
    h.abort_settlements(&mut transport, 1).await;
    let mut settlements = Vec::new();
    for _ in 0..10 {
        settlements.push(transport.settle(deliveries.by_ref().take(3).collect()));
    }
    let mut aborted = 0;
    for settlement in settlements {
        match settlement.await {
            Err(TransportError::Aborted { .. }) => aborted += 1,
            // Accepted after the abort: the lane's messages are on their way again.
            Ok(settlement) => {
                assert_eq!(settlement, Settlement { retried: 3, ..Settlement::default() });
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(aborted > 0, "an abort was injected");
    assert_each_ended_once(h, &[]).await;
    answer_until(h, &mut transport, &sent).await;
    assert_each_ended_once(h, &sent).await;
}

pub(super) async fn a_crash_shows_no_id_twice<H: Harness>(h: &H) {
    let mut sent = h.send(messages("a", 0..20)).await;
    let mut left = sent.clone();
    for _ in 0..4 {
        let mut transport = h.connect().await;
        let deliveries = receive(h, &mut transport, 5).await;
        assert_eq!(ids(&deliveries), left[..5], "what was not committed comes again, in order");
        let mut batch: Vec<_> = deliveries.into_iter().map(publish).collect();
        let rest = batch.split_off(2);
        settle::<H>(&mut transport, batch).await;
        left.drain(..2);
        // Whether this one still commits is open; that it does so once is not.
        let pending = transport.settle(rest);
        drop(transport);
        if pending.await.is_ok() {
            left.drain(..3);
        }
        if left.len() < 5 {
            break;
        }
    }
    sent.extend(h.send(vec![Outbound { key: Some("a".into()), ..Outbound::default() }]).await);
    left.push(sent[20].clone());
    answer_until(h, &mut h.connect().await, &left).await;
    assert_each_ended_once(h, &sent).await;
}

pub(super) async fn nothing_is_published_past_a_message_without_an_outcome<H: Harness>(h: &H) {
    let (sent, mut transport, mut deliveries) = given(h, 3).await;
    let (third, second) = (deliveries.pop(), deliveries.pop());
    let later = [second, third].into_iter().flatten().map(publish).collect();
    let settlement = settle::<H>(&mut transport, later).await;
    assert_eq!(settlement, Settlement { retried: 2, ..Settlement::default() });
    assert!(h.results().await.is_empty());
    let first = deliveries.into_iter().map(publish).collect();
    let settlement = settle::<H>(&mut transport, first).await;
    assert_eq!(settlement, Settlement { published: 1, ..Settlement::default() });
    assert_eq!(answer_until(h, &mut transport, &sent[1..]).await, sent[1..]);
    assert_each_ended_once(h, &sent).await;
}
