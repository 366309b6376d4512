//! Odd bytes and odd sizes, which end as an answer or a dead letter.

use std::time::Duration;

use stream_inference::transport::{
    Attributes, Outbound, Outcome, Publisher, Rejection, Settlement, Stage, Transport,
    conformance::Harness,
};
use transport_kafka::{KafkaConfig, KafkaHistory, KafkaPublisher, KafkaRecord, KafkaStart};

use crate::{cluster, faults::receive, fresh, harness::Kafka};

const PATIENCE: Duration = Duration::from_secs(30);

/// Everything on a topic, as `audit` and `redrive` read it.
async fn history(config: &KafkaConfig, topic: &str) -> Vec<KafkaRecord> {
    let (config, topic) = (config.clone(), topic.to_owned());
    let read = move || {
        let mut history = KafkaHistory::open(&config, &topic, KafkaStart::Beginning, None)?;
        std::iter::from_fn(|| history.next_record().transpose()).collect::<Result<Vec<_>, _>>()
    };
    tokio::task::spawn_blocking(read).await.expect("no panic").expect("read")
}

/// As `kafka`, but its producers refuse what is larger than 4,000 bytes.
pub(crate) fn narrow(kafka: &Kafka) -> Kafka {
    let mut config = kafka.0.clone();
    config.properties.insert("message.max.bytes".to_owned(), "4000".to_owned());
    Kafka(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_name_that_is_not_utf8_is_read_and_its_bytes_reach_the_dead_letters() {
    const NAME: &[u8] = b"caf\xe9";
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let mut attributes = Attributes::new();
    attributes.push_raw(NAME, Some("1".into()));
    attributes.push_raw(b"\xff\xfe", None);
    attributes.push("plain", "2");
    let message = Outbound { attributes: attributes.clone(), ..Outbound::default() };
    let publisher = KafkaPublisher::connect(&kafka.0).await.expect("a producer");
    publisher.publish(message.clone()).await.expect("confirmed");
    publisher.publish(Outbound::default()).await.expect("confirmed");

    let mut transport = kafka.connect().await;
    let mut deliveries = receive(&mut transport, 2).await;
    let odd =
        deliveries.iter().position(|d| !d.attributes.is_empty()).expect("the one with headers");
    let odd = deliveries.swap_remove(odd);
    assert_eq!(odd.attributes, attributes);
    assert_eq!(odd.attributes.text("caf\\xe9"), Some("1"));
    let reject = Outcome::Reject(Rejection::new(Stage::Decode, "empty"));
    transport.settle(vec![(odd, reject)]).await.expect("dead-lettered");

    let letters = history(&kafka.0, &kafka.0.dead_letter_topic).await;
    let names: Vec<_> = letters[0].message.attributes.iter_raw().take(3).collect();
    assert_eq!(names, attributes.iter_raw().collect::<Vec<_>>());
    assert_eq!(history(&kafka.0, &kafka.0.topic).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_does_not_fit_reaches_the_dead_letters_as_its_digest_and_size() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let key = Some(vec![b'k'; 9_000].into());
    let message = Outbound { key, payload: "x".into(), ..Outbound::default() };
    let sent = kafka.send(vec![message.clone(), message]).await;
    let mut transport = narrow(&kafka).connect().await;
    let mut deliveries = receive(&mut transport, 2).await;
    // A result takes the key with it; a rejection does, too.
    let result = Outbound { key: deliveries[1].key.clone(), ..Outbound::default() };
    let answer = (deliveries.remove(1), Outcome::Publish(vec![result]));
    let reject = Outcome::Reject(Rejection::new(Stage::Decode, "not an image"));
    let settled = transport.settle(vec![(deliveries.remove(0), reject), answer]).await;
    let expected = Settlement { rejected: 2, ..Settlement::default() };
    assert_eq!(settled.expect("confirmed"), expected);

    let letters = kafka.dead_letters().await;
    let mut found = Vec::new();
    for letter in &letters {
        let text = |name| letter.attributes.text(name).unwrap_or_default();
        assert_eq!((&letter.key, letter.payload.len()), (&None, 0));
        assert_eq!((text("fmnist.key.bytes"), text("fmnist.payload.bytes")), ("9000", "1"));
        assert_eq!(text("fmnist.key.sha256").len(), 64);
        found.push((text("fmnist.id").to_owned(), text("__connect.errors.stage").to_owned()));
    }
    found.sort();
    let expected =
        [(sent[0].clone(), "DECODE".to_owned()), (sent[1].clone(), "PUBLISH".to_owned())];
    assert_eq!(found, expected);
    transport.drain(PATIENCE).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_a_batch_for_its_size_gets_each_message_by_itself() {
    use rdkafka::{bindings::rd_kafka_resp_err_t as Error, types::RDKafkaApiKey};
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let message = |payload: &'static str| Outbound {
        key: Some("a".into()),
        payload: payload.into(),
        ..Outbound::default()
    };
    kafka.send(vec![message("one"), message("two")]).await;
    let mut transport = kafka.connect().await;
    let batch = receive(&mut transport, 2).await.into_iter().map(|delivery| {
        let results = vec![Outbound { payload: delivery.payload.clone(), ..message("") }];
        (delivery, Outcome::Publish(results))
    });
    let batch = batch.collect();
    // Once the batch of both, and then the first by itself.
    let refused = Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused, refused]);
    let settled = transport.settle(batch).await.expect("confirmed");
    assert_eq!(settled, Settlement { published: 1, rejected: 1, ..Settlement::default() });
    assert_eq!(kafka.results().await[0].payload, "two");
    let letter = kafka.dead_letters().await.remove(0);
    assert_eq!(letter.payload, "one");
    assert_eq!(letter.attributes.text("__connect.errors.stage"), Some("PUBLISH"));
}
