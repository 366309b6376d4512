//! What is bounded: the buffer, and the end.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use stream_inference::{
    codec::Raw,
    pipeline::{BatchConfig, Pipeline, PipelineConfig},
    transport::{
        Limits, Outbound, Outcome, Publisher, Settlement, Transport, TransportError,
        conformance::Harness,
    },
};
use tokio::{
    sync::{broadcast, oneshot},
    task::JoinSet,
    time::timeout,
};
use transport_kafka::KafkaPublisher;

use crate::{
    cluster,
    constant::constant,
    faults::{receive, send_to},
    fresh,
    harness::{PARTITIONS, topics},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_that_pauses_and_resumes_keeps_order_and_loses_nothing() {
    // Three times what is buffered.
    const MESSAGES: usize = 30_000;
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let mut transport = kafka.connect().await;
    let publisher = KafkaPublisher::connect(&kafka.0).await.expect("a producer");
    let mut received = 0;
    let mut next: HashMap<i32, i64> = HashMap::new();
    // The consumer has joined, and fills its buffer while the rest is sent.
    for sending in [1, MESSAGES - 1] {
        let mut sends = JoinSet::new();
        for _ in 0..sending {
            let publisher = publisher.clone();
            let message = Outbound { payload: "x".into(), ..Outbound::default() };
            sends.spawn(async move { publisher.publish(message).await.expect("confirmed") });
        }
        let expected = received + sends.join_all().await.len();
        while received < expected {
            let limits = Limits { max_messages: 500, max_bytes: 1 << 20, max_wait: Duration::ZERO };
            let deliveries = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
            let deliveries = deliveries.expect("received");
            for source in deliveries.iter().map(|delivery| &delivery.source) {
                let partition = source.partition.expect("a partition");
                let next = next.entry(partition).or_default();
                assert_eq!(source.offset, Some(*next), "of partition {partition}");
                *next += 1;
            }
            received += deliveries.len();
            let recorded = deliveries.into_iter().map(|d| (d, Outcome::Recorded)).collect();
            transport.settle(recorded).await.expect("recorded");
        }
    }
    assert_eq!(received, MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_ends_within_its_grace_when_the_broker_is_away() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    kafka.send(vec![Outbound { payload: "x".into(), ..Outbound::default() }]).await;
    let mut transport = kafka.connect().await;
    let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
    let deliveries = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
    cluster.broker_down(-1).expect("down");
    let publish = |delivery| (delivery, Outcome::Publish(vec![Outbound::default()]));
    let batch = deliveries.expect("received").into_iter().map(publish).collect();
    let settlement = transport.settle(batch);
    let drained = timeout(PATIENCE, transport.drain(Duration::from_secs(1))).await;
    let error = drained.expect("the grace was a second").expect_err("nobody confirmed");
    assert!(matches!(error, TransportError::Fatal { .. }), "{error}");
    cluster.broker_up(-1).expect("up");
    let settlement = timeout(PATIENCE, settlement).await.expect("it still ends");
    assert_eq!(
        settlement.expect("confirmed"),
        Settlement { published: 1, ..Settlement::default() }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_said_and_waited_for() {
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let mut transport = kafka.connect().await;
    cluster.broker_down(-1).expect("down");
    let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
    let received = timeout(PATIENCE, transport.recv(limits)).await.expect("in time");
    let error = received.expect_err("nothing to receive");
    assert!(matches!(error, TransportError::Unavailable { .. }), "{error}");
    cluster.broker_up(-1).expect("up");
    kafka.send(vec![Outbound { payload: "back".into(), ..Outbound::default() }]).await;
    loop {
        match timeout(PATIENCE, transport.recv(limits)).await.expect("in time") {
            Ok(deliveries) => break assert_eq!(deliveries[0].payload, "back"),
            Err(TransportError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_producer_queue_is_backpressure_and_no_failure() {
    const MESSAGES: usize = 20;
    let cluster = cluster();
    let mut kafka = fresh(&cluster);
    kafka.0.properties.insert("queue.buffering.max.messages".to_owned(), "2".to_owned());
    let [_, results, _] = topics(&kafka.0);
    kafka.send(vec![Outbound { payload: "x".into(), ..Outbound::default() }; MESSAGES]).await;
    let mut transport = kafka.connect().await;
    let deliveries = receive(&mut transport, MESSAGES).await;

    // Without a leader, the results topic takes nothing, and the queue has room for two.
    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, None).expect("no leader");
    }
    let publish = |delivery| (delivery, Outcome::Publish(vec![Outbound::default()]));
    let mut settlement = Box::pin(transport.settle(deliveries.into_iter().map(publish).collect()));
    let early = timeout(Duration::from_millis(300), &mut settlement).await;
    assert!(early.is_err(), "{early:?} although nobody can have confirmed");
    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, Some(1)).expect("a leader");
    }
    let settlement = timeout(PATIENCE, settlement).await.expect("in time").expect("confirmed");
    assert_eq!(settlement, Settlement { published: MESSAGES, ..Settlement::default() });
    assert_eq!(kafka.results().await.len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_takes_longer_than_the_poll_interval_keeps_its_partitions() {
    // The least that librdkafka takes beside such a timeout of the session.
    const POLL_INTERVAL: Duration = Duration::from_secs(3);
    // More than the consumer buffers, so that its partitions are paused while the model computes.
    const MESSAGES: usize = 36;
    const BYTES: usize = 400_000;
    let cluster = cluster();
    let mut kafka = fresh(&cluster);
    let interval_ms = POLL_INTERVAL.as_millis().to_string();
    for (name, value) in [
        ("max.poll.interval.ms", &*interval_ms),
        ("session.timeout.ms", &*interval_ms),
        ("heartbeat.interval.ms", "100"),
    ] {
        kafka.0.properties.insert(name.to_owned(), value.to_owned());
    }
    let payload = vec![7; BYTES];
    for partition in (0..PARTITIONS).cycle().take(MESSAGES) {
        send_to(&kafka.0, partition, &payload).await;
    }
    let batch = BatchConfig { max_messages: 10, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let (answered, mut answers) = broadcast::channel(MESSAGES);
    let model = constant(POLL_INTERVAL * 3 / 2, Bytes::new());
    let pipeline =
        Pipeline::new(kafka.connect().await, model, Raw::new(), config).with_observer(answered);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(pipeline.run(async { drop(stopped.await) }));
    for _ in 0..MESSAGES {
        timeout(PATIENCE, answers.recv()).await.expect("in time").expect("an answer");
    }
    drop(stop);
    let report = running.await.expect("no panic").expect("drained");
    // A member that was expelled would get its messages again, and its outcomes would be stale.
    let expected = Settlement { published: MESSAGES, ..Settlement::default() };
    assert_eq!(report.settlement, expected);
    assert!(report.batches >= 3, "{} batches", report.batches);
}
