//! The consumer that dies: this program again, with what it shall do in its environment.

use std::{
    fs::File,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::{
    Classifier, Image, PredictError, Prediction, Predictor,
    fail_points::{self, Death, FailPoint},
    message::{Requests, ResultRecord},
    pipeline::{Answered, BatchConfig, OnError, Pipeline, PipelineConfig, Sink, SinkError},
    predict::{ModelIdentity, function},
    slot::ModelSlot,
    transport::Transport,
};
use service::shutdown_signal;
use transport_kafka::{KafkaConfig, KafkaTransport};
use transport_pubsub::{Emulator, PubSubConfig, PubSubTransport};

const SETTINGS: &str = "FMNIST_CHAOS_CONSUMER";
const READY: &str = "ready";

#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Settings {
    pub(crate) broker: Broker,
    /// Where to die, and at which passage.
    pub(crate) death: Option<(FailPoint, u32)>,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) enum Broker {
    Kafka(KafkaConfig),
    /// With the emulator's address.
    PubSub(PubSubConfig, String),
}

pub(crate) fn settings_from_env() -> Option<Settings> {
    let json = std::env::var(SETTINGS).ok()?;
    Some(serde_json::from_str(&json).expect("settings"))
}

/// Consumes until SIGTERM, or death.
pub(crate) async fn consume(settings: Settings) -> anyhow::Result<()> {
    if let Some((point, hit)) = settings.death {
        fail_points::arm(point, hit, Death::Process);
    }
    match settings.broker {
        Broker::Kafka(kafka) => run(KafkaTransport::connect(&kafka).await?).await,
        Broker::PubSub(pubsub, emulator) => {
            let pubsub = PubSubConfig { emulator: Some(Emulator::new(&emulator)?), ..pubsub };
            run(PubSubTransport::connect(&pubsub).await?).await
        }
    }
}

async fn run<T: Transport>(transport: T) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let shutdown = async move {
        let ready = async {
            println!("{READY}");
            std::future::pending().await
        };
        // In this order: before the signal is waited for, it ends the process at once.
        tokio::select! {
            biased;
            () = shutdown => {}
            () = ready => {}
        }
    };
    let report = pipeline(transport)?.run(shutdown).await?;
    println!("{}", report.inputs);
    Ok(())
}

/// What answers: the real model, and what takes its place and fails.
type Model = Arc<dyn Predictor<Input = Image, Output = Prediction>>;

/// The real model in small batches, so that every point is passed often; it is exchanged and taken back
/// with every batch.
pub(crate) fn pipeline<T: Transport>(
    transport: T,
) -> anyhow::Result<Pipeline<T, ModelSlot<Model>, Requests, Exchange>> {
    let batch = BatchConfig { max_inputs: 8, max_messages: 64, ..BatchConfig::default() };
    // Every end is of the test's making: no message is to blame, and many are to be in flight.
    let on_error = OnError { crashes: 0, ..OnError::default() };
    let config = PipelineConfig { batch, on_error, ..PipelineConfig::default() };
    let test_set: Arc<[Image]> = Arc::new([Image::new([1; Image::PIXELS])]);
    let model = Classifier::pretrained()?;
    let requests = Requests::new(&model, test_set);
    let slot = ModelSlot::new(Arc::new(model.clone()) as Model);
    let exchange = Exchange { slot: slot.clone(), good: Arc::new(model) };
    Ok(Pipeline::new(transport, slot, requests, config).with_sink(exchange))
}

/// A sink that confirms everything. After each batch it puts a model into service that answers, and then
/// one that does not, which the next batch takes back: so often as batches are answered, however fast.
pub(crate) struct Exchange {
    slot: ModelSlot<Model>,
    good: Model,
}

impl Sink<ResultRecord, Image> for Exchange {
    async fn write(&self, _: &[Answered]) -> Result<(), SinkError> {
        let fails =
            |_: &[Image]| Err::<Vec<Prediction>, _>(PredictError::from("on purpose".to_owned()));
        let bad = function(ModelIdentity::of_code("bad", "1"), fails);
        for next in [Arc::clone(&self.good), Arc::new(bad)] {
            self.slot.swap(next).expect("neither of the two is checked");
        }
        Ok(())
    }
}

/// A running consumer; killed when dropped.
pub(crate) struct Consumer {
    child: Child,
    /// [`READY`], and at a polite end how many images it classified.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Consumer {
    /// Waits until it is connected, or has ended before that. Its log is added to the file.
    pub(crate) fn start(settings: &Settings, log: &Path) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .env(SETTINGS, serde_json::to_string(settings)?)
            // Not each poison.
            .env("RUST_LOG", "warn,fmnist_core::pipeline=error")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        drop(lines.next().transpose()?);
        Ok(Self { child, lines })
    }

    /// Its exit status, within `patience`.
    pub(crate) fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the consumer still runs after {patience:?}")
    }

    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        self.signal("-TERM")
    }

    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill {signal} failed");
        Ok(())
    }
}

/// A consumer that is started again when it ends with an error, as an orchestrator would.
pub(crate) struct Kept<'l> {
    settings: Settings,
    log: &'l Path,
    consumer: Consumer,
    restarts: usize,
}

/// What a [`Kept`] consumer came to.
pub(crate) struct Ended {
    /// How often it was started again.
    pub(crate) restarts: usize,
    /// What it classified since its last start.
    pub(crate) images: usize,
}

impl<'l> Kept<'l> {
    pub(crate) fn start(settings: Settings, log: &'l Path) -> anyhow::Result<Self> {
        let consumer = Consumer::start(&settings, log)?;
        Ok(Self { settings, log, consumer, restarts: 0 })
    }

    /// The process's number.
    pub(crate) fn process(&self) -> u32 {
        self.consumer.child.id()
    }

    pub(crate) fn revive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.consumer.child.try_wait()? {
            anyhow::ensure!(status.code() == Some(1), "a consumer ended with {status}");
            self.consumer = Consumer::start(&self.settings, self.log)?;
            self.restarts += 1;
        }
        Ok(())
    }

    /// Ends it politely.
    pub(crate) fn end(mut self, patience: Duration) -> anyhow::Result<Ended> {
        self.revive()?;
        self.consumer.terminate()?;
        let status = self.consumer.ended(patience)?;
        anyhow::ensure!(status.success(), "SIGTERM ended a consumer with {status}");
        let images = self.consumer.lines.next().context("it says how many")??.parse()?;
        Ok(Ended { restarts: self.restarts, images })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
