//! The old system's faults on Pub/Sub, each shown impossible.

use std::time::Duration;

use stream_inference::transport::{
    Limits, Outbound, Outcome, PublishError, Publisher, Rejection, Settlement, Stage, Transport,
    TransportError, conformance::Harness,
};
use tokio::time::timeout;
use transport_pubsub::{PubSubConfig, PubSubPublisher, PubSubResults};

use crate::harness::{Emulated, LIMITS, echo, numbered, receive, receive_raw, settle, topic_admin};

#[tokio::test(flavor = "multi_thread")]
async fn pubsub_messages_are_acknowledged_only_after_the_result_is_published() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);

    let results = emulated.config.results_topic.as_deref().expect("a results topic");
    let results = emulated.config.topic_name(results);
    topic_admin(&emulated.config).await.delete_topic().set_topic(results).send().await.unwrap();
    let error = transport.settle(vec![echo(delivery)]).await.unwrap_err();
    assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
    assert!(error.to_string().contains("MODEL-INFERENCE-RESULTS"), "{error}");
    drop(transport);

    let (message, _handler) = receive_raw(&emulated.config, 1).await.remove(0);
    assert_eq!(message.message_id, sent[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pulled_before_the_model_is_loaded() {
    let emulated = Emulated::new().await;
    let sent = emulated.send(numbered(3)).await;
    // Connected, as a consumer is while its model is being loaded, and not receiving yet.
    let mut transport = emulated.connect().await;
    let received = receive_raw(&emulated.config, 3).await;
    let mut ids: Vec<_> = received.iter().map(|(message, _)| message.message_id.clone()).collect();
    ids.sort_unstable();
    let mut expected = sent.clone();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    drop(received);

    let mut ids: Vec<_> = receive(&mut transport, 3).await.into_iter().map(|d| d.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_send_is_an_error() {
    let emulated = Emulated::new().await;
    let config = PubSubConfig { topic: "NO-SUCH-TOPIC".to_owned(), ..emulated.config.clone() };
    let publisher = PubSubPublisher::connect(&config).await.unwrap();
    let error = publisher.publish(numbered(1).remove(0)).await.unwrap_err();
    // The message is not at fault: a front end answers 503.
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("NO-SUCH-TOPIC"), "{error}");
    let error = publisher.probe().await.unwrap_err();
    assert!(error.to_string().contains("curl -X PUT"), "{error}");
    emulated.publisher.probe().await.expect("the topic exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_producers_message_arrives_byte_for_byte() {
    let emulated = Emulated::new().await;
    let message = Outbound {
        attributes: [("start_idx", "0"), ("end_idx", "5")].into_iter().collect(),
        payload: "pubsub - model inference".into(),
        ..Outbound::default()
    };
    let sent = emulated.send(vec![message]).await;
    let mut transport = emulated.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    assert_eq!(delivery.id, sent[0]);
    assert_eq!(delivery.payload, "pubsub - model inference");
    assert_eq!(delivery.attributes.text("start_idx"), Some("0"));
    assert_eq!(delivery.attributes.text("end_idx"), Some("5"));
    assert_eq!((delivery.key, delivery.lane, delivery.attempt), (None, None, None));
    assert_eq!(&*delivery.source.transport, "pubsub");
    assert_eq!(&*delivery.source.topic, "MODEL-INFERENCE");
    assert_eq!(delivery.source.message_id, Some(sent[0].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_trace_arrives_with_it_under_googles_name_too() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let emulated = Emulated::new().await;
    let attributes = [("traceparent", TRACE)].into_iter().collect();
    emulated.send(vec![Outbound { attributes, ..numbered(1).remove(0) }]).await;
    let mut transport = emulated.connect().await;
    let delivery = receive(&mut transport, 1).await.remove(0);
    for name in ["traceparent", "googclient_traceparent"] {
        assert_eq!(delivery.attributes.text(name), Some(TRACE), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_and_the_good_around_it_is_answered() {
    let emulated = Emulated::new().await;
    emulated.send(numbered(50)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 50).await;
    // The reason is longer than Pub/Sub takes.
    let (stage, reason) = (Stage::Decode, "x".repeat(5_000));
    let poison = Outcome::Reject(Rejection { stage, reason });
    let is_poison = |payload: &[u8]| payload.ends_with(b"7");
    let outcomes = deliveries.into_iter().map(|delivery| {
        if is_poison(&delivery.payload) { (delivery, poison.clone()) } else { echo(delivery) }
    });
    let settlement = settle(&mut transport, outcomes.collect()).await;
    let expected = Settlement { published: 45, rejected: 5, ..Settlement::default() };
    assert_eq!(settlement, expected);

    let letters = emulated.dead_letters().await;
    assert_eq!(letters.len(), 5);
    for letter in letters {
        assert!(is_poison(&letter.payload));
        assert_eq!(letter.attributes.text("__connect.errors.stage"), Some("DECODE"));
        let reason = letter.attributes.text("__connect.errors.exception.message");
        assert_eq!(reason, Some(&*"x".repeat(1024)));
    }
    assert_eq!(emulated.results().await.len(), 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_pubsub_refuses_is_dead_lettered_at_publish_and_its_neighbours_are_answered()
{
    let emulated = Emulated::new().await;
    emulated.send(numbered(4)).await;
    let mut transport = emulated.connect().await;
    let mut deliveries = receive(&mut transport, 4).await;
    // Pub/Sub takes no message with neither data nor attributes, and none of more than 10 MB.
    let empty = (deliveries.remove(1), Outcome::Publish(vec![Outbound::default()]));
    let large = Outbound { payload: vec![b'x'; 10 << 20].into(), ..numbered(1).remove(0) };
    let mut large = (deliveries.remove(1), Outcome::Publish(vec![large]));
    if let Outcome::Publish(parts) = &mut large.1 {
        parts[0].attributes.push("content-type", "application/json");
    }
    let mut refused = [empty.0.id.clone(), large.0.id.clone()];
    let mut batch: Vec<_> = deliveries.into_iter().map(echo).collect();
    batch.splice(1..1, [empty, large]);
    let settlement = settle(&mut transport, batch).await;
    let expected = Settlement { published: 2, rejected: 2, ..Settlement::default() };
    assert_eq!(settlement, expected);
    let letters = emulated.dead_letters().await;
    let text =
        |letter: &Outbound, name| letter.attributes.text(name).unwrap_or_default().to_owned();
    let mut ids: Vec<_> = letters.iter().map(|letter| text(letter, "fmnist.id")).collect();
    ids.sort_unstable();
    refused.sort_unstable();
    assert_eq!(ids, refused);
    for letter in &letters {
        assert_eq!(text(letter, "__connect.errors.stage"), "PUBLISH");
        assert_eq!(letter.payload.len(), 1, "the message's own data");
    }
    assert_eq!((letters.len(), emulated.results().await.len()), (2, 2));
}

/// As large as Pub/Sub lets a message be, in all that it lets be large.
fn full(payload_bytes: usize) -> Outbound {
    let name = |n: usize| format!("{n:0256}");
    Outbound {
        key: Some(vec![b'k'; 1024].into()),
        attributes: (0..100).map(|n| (name(n), "v".repeat(1024))).collect(),
        payload: vec![b'x'; payload_bytes].into(),
        ..Outbound::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_pubsubs_limits_is_answered_or_its_dead_letter_tells_what_it_had() {
    let emulated = Emulated::new().await;
    emulated.send(vec![full(1_000), full(9_800_000), full(1_000)]).await;
    let mut transport = emulated.connect().await;
    let large = Limits { max_bytes: 20 << 20, ..LIMITS };
    let mut deliveries = Vec::new();
    while deliveries.len() < 3 {
        deliveries.extend(transport.recv(large).await.expect("received"));
    }
    // A zero byte stands behind each name and value.
    let attributes = &deliveries[0].attributes;
    let attributes_bytes = (attributes.size_bytes() + 2 * attributes.len()).to_string();
    let poison = || Outcome::Reject(Rejection::new(Stage::Decode, "no picture"));
    let mut deliveries = deliveries.into_iter();
    let batch = [(); 2].map(|()| (deliveries.next().expect("three"), poison()));
    let answered = echo(deliveries.next().expect("three"));
    let settlement = settle(&mut transport, batch.into_iter().chain([answered]).collect()).await;
    let expected = Settlement { published: 1, rejected: 2, ..Settlement::default() };
    assert_eq!(settlement, expected);

    let letters = emulated.dead_letters().await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].payload.len(), 1_000);
    let text = |letter: &Outbound, name| letter.attributes.text(name).map(str::to_owned);
    let told = text(&letters[0], "fmnist.attributes.bytes");
    assert_eq!((letters[0].attributes.len(), told), (100, Some(attributes_bytes)));
    assert_eq!(text(&letters[0], "fmnist.attributes.sha256").map(|digest| digest.len()), Some(64));
    for letter in &letters {
        assert_eq!(letter.key.as_deref(), Some(&[b'k'; 1024][..]));
        assert_eq!(text(letter, "__connect.errors.stage").as_deref(), Some("DECODE"));
    }
    // The second is a stub where the whole is more than the server takes.
    let told = text(&letters[1], "fmnist.payload.bytes").unwrap_or("9800000".to_owned());
    assert_eq!(told, "9800000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_sees_each_result_once() {
    let emulated = Emulated::new().await;
    let config = PubSubConfig {
        results_topic: emulated.config.results_topic.clone(),
        results_subscription_id: Some("page-subscription".to_owned()),
        ..emulated.config.clone()
    };
    transport_pubsub::create_missing(&config).await.unwrap();
    let mut page = PubSubResults::connect(&config).await.unwrap().expect("a subscription");
    emulated.send(numbered(3)).await;
    let mut transport = emulated.connect().await;
    let deliveries = receive(&mut transport, 3).await;
    settle(&mut transport, deliveries.into_iter().map(echo).collect()).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let result = timeout(Duration::from_secs(30), page.next()).await.expect("in time");
        seen.push(result.expect("a result"));
    }
    seen.sort_unstable();
    assert_eq!(seen, ["0", "1", "2"]);
    let none = PubSubConfig { results_subscription_id: None, ..config };
    assert!(PubSubResults::connect(&none).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn recv_waits_no_longer_than_max_wait_for_more() {
    let emulated = Emulated::new().await;
    emulated.send(numbered(1)).await;
    let mut transport = emulated.connect().await;
    let limits = Limits { max_wait: Duration::from_millis(100), ..LIMITS };
    let deliveries = timeout(Duration::from_secs(30), transport.recv(limits)).await;
    assert_eq!(deliveries.expect("in time").expect("received").len(), 1);
}
