//! What is told of trouble: as an event, as a metric, by the pulse.
//!
//! Each test is one thread, so that recorder and subscriber are its own.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use stream_inference::{
    pipeline::Pulse,
    transport::{
        Limits, Outbound, Outcome, Settlement, Transport, TransportError, conformance::Harness,
    },
};
use tokio::time::{Instant, sleep, timeout};
use transport_kafka::KafkaTransport;

use crate::{
    cluster, fresh,
    harness::{Kafka, PARTITIONS, topics},
};

const PATIENCE: Duration = Duration::from_secs(60);
const ONE: Limits = Limits { max_messages: 1, max_bytes: 1 << 20, max_wait: Duration::ZERO };

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<u8>>>);

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Events {
    /// The events of this thread from now on, while the guard lives.
    pub(crate) fn new() -> (Self, tracing::subscriber::DefaultGuard) {
        let events = Self::default();
        let writer = events.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("transport_kafka=info")
            .with_writer(move || writer.clone())
            .finish();
        (events, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

/// The sum of a metric over all labels; `None` where it is not told.
fn sum(metrics: &PrometheusHandle, name: &str) -> Option<f64> {
    let text = metrics.render();
    let samples = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let values = samples.map(|line| line.rsplit_once(' ').expect("a value").1);
    values.map(|value| value.parse::<f64>().expect("a number")).reduce(|sum, value| sum + value)
}

async fn reaches(metrics: &PrometheusHandle, name: &str, expected: f64) {
    let deadline = Instant::now() + PATIENCE;
    while sum(metrics, name) != Some(expected) {
        assert!(Instant::now() < deadline, "{name} stays at {:?}", sum(metrics, name));
        sleep(Duration::from_millis(20)).await;
    }
}

fn with_properties(kafka: &Kafka, properties: &[(&str, &str)]) -> Kafka {
    let mut config = kafka.0.clone();
    let owned = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config.properties.extend(owned);
    Kafka(config)
}

fn message(payload: &'static str) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

/// Receives, through the errors that say that nothing comes for now.
async fn receive(transport: &mut KafkaTransport) -> String {
    loop {
        match timeout(PATIENCE, transport.recv(ONE)).await.expect("in time") {
            Ok(mut deliveries) => {
                let delivery = deliveries.remove(0);
                let id = delivery.id.clone();
                let recorded = transport.settle(vec![(delivery, Outcome::Recorded)]).await;
                recorded.expect("settled");
                return id;
            }
            Err(TransportError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_breach_of_the_poll_interval_is_an_event_a_metric_and_a_cut_off_pulse_until_the_rejoin() {
    let (events, _logging) = Events::new();
    let (recorder, metrics) = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let cluster = cluster();
    let kafka = with_properties(
        &fresh(&cluster),
        &[
            // The mock lets a member wait for three seconds before it is in its group.
            ("session.timeout.ms", "4000"),
            ("max.poll.interval.ms", "4000"),
        ],
    );
    kafka.send(vec![message("before")]).await;
    let pulse = Pulse::default();
    let mut transport = kafka.connect().await.with_pulse(&pulse);
    receive(&mut transport).await;
    assert!(pulse.vitals().is_well());
    assert_eq!(sum(&metrics, "fmnist_poll_breaches_total"), Some(0.0));

    // The fault itself: nothing of this process polls for longer than the interval.
    thread::sleep(Duration::from_secs(6));
    let received = timeout(PATIENCE, transport.recv(ONE)).await.expect("in time");
    assert!(matches!(received, Err(TransportError::Unavailable { .. })), "{received:?}");
    assert!(pulse.vitals().is_cut_off);
    assert_eq!(sum(&metrics, "fmnist_poll_breaches_total"), Some(1.0));
    let told = events.text();
    assert!(told.contains("ERROR") && told.contains("max.poll.interval.ms"), "{told}");

    let sent = kafka.send(vec![message("after")]).await;
    while receive(&mut transport).await != sent[0] {}
    assert!(pulse.vitals().is_well());
    assert_eq!(sum(&metrics, "fmnist_poll_breaches_total"), Some(1.0));
}

#[tokio::test]
async fn a_full_producer_queue_is_an_event_and_a_metric_and_loses_nothing() {
    let (events, _logging) = Events::new();
    let (recorder, metrics) = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let cluster = cluster();
    let kafka = fresh(&cluster);
    let [_, results, _] = topics(&kafka.0);
    kafka.send(vec![message("a"), message("b"), message("c")]).await;
    let narrow = with_properties(&kafka, &[("queue.buffering.max.messages", "1")]);
    let mut transport = narrow.connect().await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 3 {
        let received = timeout(PATIENCE, transport.recv(ONE)).await.expect("in time");
        let publish = |delivery| (delivery, Outcome::Publish(vec![message("answer")]));
        outcomes.extend(received.expect("received").into_iter().map(publish));
    }
    assert_eq!(sum(&metrics, "fmnist_queue_full_total"), Some(0.0));

    // Without a leader, the results topic takes nothing.
    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, None).expect("no leader");
    }
    let mut settling = Box::pin(transport.settle(outcomes));
    reaches(&metrics, "fmnist_queue_full_total", 1.0).await;
    assert!(futures_util::poll!(&mut settling).is_pending());
    let told = events.text();
    assert!(told.contains("WARN") && told.contains("the producer's queue is full"), "{told}");

    for partition in 0..PARTITIONS {
        cluster.partition_leader(results, partition, Some(1)).expect("a leader");
    }
    let settlement = timeout(PATIENCE, settling).await.expect("in time").expect("confirmed");
    assert_eq!(settlement, Settlement { published: 3, ..Settlement::default() });
    assert_eq!(kafka.results().await.len(), 3);
}

#[tokio::test]
async fn the_lag_is_what_is_not_acknowledged_whether_it_was_received_or_not() {
    let (recorder, metrics) = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let cluster = cluster();
    let kafka = fresh(&cluster);
    kafka.send((0..10).map(|_| message("x")).collect()).await;
    let mut transport = kafka.connect().await;
    reaches(&metrics, "fmnist_lag_messages", 10.0).await;
    let partitions = metrics.render().matches("fmnist_lag_messages{").count();
    assert_eq!(partitions, PARTITIONS as usize);

    for _ in 0..3 {
        receive(&mut transport).await;
    }
    let held = timeout(PATIENCE, transport.recv(ONE)).await.expect("in time").expect("received");
    assert_eq!(held.len(), 1);
    reaches(&metrics, "fmnist_lag_messages", 7.0).await;
    for _ in 0..6 {
        receive(&mut transport).await;
    }
    let held = held.into_iter().map(|delivery| (delivery, Outcome::Recorded)).collect();
    transport.settle(held).await.expect("settled");
    reaches(&metrics, "fmnist_lag_messages", 0.0).await;
}
