use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use stream_inference::{
    pipeline::{OnError, Pipeline, PipelineConfig},
    transport::{Limits, Outbound, Outcome, Transport},
};
use transport_kafka::{KafkaConfig, KafkaTransport};

use crate::constant::{constant, ranges};

const SETTINGS: &str = "FMNIST_TEST_CONSUMER";

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Settings {
    kafka: KafkaConfig,
    delay_ms: u64,
    /// Whether each message is answered on the results topic and on the route.
    onto_both: bool,
}

pub(crate) fn settings_from_env() -> Option<Settings> {
    let json = std::env::var(SETTINGS).ok()?;
    Some(serde_json::from_str(&json).expect("settings"))
}

/// Consumes until it is killed.
pub(crate) async fn consume(settings: Settings) {
    let delay = Duration::from_millis(settings.delay_ms);
    if settings.onto_both {
        return answer_onto_both(&settings.kafka, delay).await;
    }
    let model = constant(delay, 0);
    let transport = KafkaTransport::connect(&settings.kafka).await.expect("connected");
    // No message is to blame for the kills, and many are to be in flight.
    let on_error = OnError { crashes: 0, ..OnError::default() };
    let config = PipelineConfig { on_error, ..PipelineConfig::default() };
    let pipeline = Pipeline::new(transport, model, ranges(), config);
    pipeline.run(std::future::pending()).await.expect("runs until it is killed");
}

/// Answers messages with their ids, in transactions that are small, so that there are many.
async fn answer_onto_both(kafka: &KafkaConfig, delay: Duration) {
    let mut transport = KafkaTransport::connect(kafka).await.expect("connected");
    transport.forget_crashes();
    let limits =
        Limits { max_messages: Consumer::AT_ONCE, max_bytes: 1 << 20, max_wait: Duration::ZERO };
    loop {
        let deliveries = transport.recv(limits).await.expect("received");
        tokio::time::sleep(delay).await;
        let batch = deliveries.into_iter().map(|delivery| {
            let attributes = [("id", delivery.id.clone())].into_iter().collect();
            let part = Outbound { attributes, ..Outbound::default() };
            let other = Outbound { topic: Some(kafka.routes[0].as_str().into()), ..part.clone() };
            (delivery, Outcome::Publish(vec![part, other]))
        });
        transport.settle(batch.collect()).await.expect("committed");
    }
}

/// This program again, as a consumer.
pub(crate) struct Consumer(Child);

impl Consumer {
    /// Messages of a transaction that answers them on two topics.
    pub(crate) const AT_ONCE: usize = 25;

    pub(crate) fn start(kafka: &KafkaConfig, delay: Duration) -> Self {
        Self::with(kafka, delay, false)
    }

    /// A consumer that answers each message on the results topic and on the route.
    pub(crate) fn start_onto_both(kafka: &KafkaConfig, delay: Duration) -> Self {
        Self::with(kafka, delay, true)
    }

    /// `delay`: for each batch.
    fn with(kafka: &KafkaConfig, delay: Duration, onto_both: bool) -> Self {
        let delay_ms = delay.as_millis().try_into().expect("a short time");
        let settings = Settings { kafka: kafka.clone(), delay_ms, onto_both };
        let child = Command::new(std::env::current_exe().expect("this program"))
            .env(SETTINGS, serde_json::to_string(&settings).expect("JSON"))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Self(child)
    }

    /// SIGKILL: nothing is flushed, committed or said.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }

    /// `-STOP` takes all its time away, `-CONT` gives it back.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// The largest resident memory seen during `time`, from /proc.
    pub(crate) async fn peak_memory_kb(&self, time: Duration) -> u64 {
        let begun = Instant::now();
        let mut peak = 0;
        while begun.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
            let status = status.expect("the consumer runs, on Linux");
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
            let kb: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
            peak = peak.max(kb);
        }
        peak
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
