//! A consumer of the group: this program again, in a process of its own.

use std::{
    env,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context;
use fmnist_benches::cpu_seconds;
use fmnist_core::{Classifier, message::Requests};
use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::{Codec, Json},
    pipeline::{BatchConfig, Pipeline, PipelineConfig},
    predict::{ModelIdentity, PredictError, Predictor, function},
};
use transport_kafka::{KafkaConfig, KafkaTransport};

const SETTINGS: &str = "FMNIST_BENCH_MEMBER";
/// What the waiting model takes for a call, however many inputs that has, as a device beside the processor
/// would.
pub(crate) const SERVICE: Duration = Duration::from_millis(20);
/// Inputs of a call.
pub(crate) const BATCH: usize = 16;
/// What one consumer can do at most, in messages a second.
pub(crate) const CAPACITY: f64 = BATCH as f64 * 1_000.0 / SERVICE.as_millis() as f64;

#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) kafka: KafkaConfig,
    /// Whose results these are.
    pub(crate) number: usize,
    pub(crate) model: Model,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Model {
    /// Waits for [`SERVICE`] and computes nothing.
    Waits,
    /// The shipped `base` network.
    Base,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) n: usize,
}

/// Which message, and who answered it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) n: usize,
    pub(crate) by: usize,
}

pub(crate) fn settings_from_env() -> anyhow::Result<Option<Settings>> {
    let json = env::var(SETTINGS).ok();
    json.map(|json| serde_json::from_str(&json).context(SETTINGS)).transpose()
}

/// Consumes until SIGTERM.
pub(crate) async fn consume(settings: Settings) -> anyhow::Result<()> {
    let transport = KafkaTransport::connect(&settings.kafka).await?;
    let by = settings.number;
    match settings.model {
        Model::Waits => {
            let model = function(ModelIdentity::of_code("waits", "1"), move |batch: &[Input]| {
                thread::sleep(SERVICE);
                Ok::<_, PredictError>(batch.iter().map(|input| Output { n: input.n, by }).collect())
            });
            let batch = BatchConfig { max_inputs: BATCH, ..BatchConfig::default() };
            run(transport, model, Json::<Input, Output>::new(), batch).await
        }
        Model::Base => {
            let model = Classifier::pretrained()?;
            // Messages carry their images.
            let codec = Requests::new(&model, [].into());
            run(transport, model, codec, BatchConfig::default()).await
        }
    }
}

async fn run<P, C>(
    transport: KafkaTransport,
    model: P,
    codec: C,
    batch: BatchConfig,
) -> anyhow::Result<()>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let ended = async move { terminated.recv().await.unwrap_or_default() };
    Pipeline::new(transport, model, codec, config).run(ended).await?;
    Ok(())
}

/// A running consumer; killed when dropped.
pub(crate) struct Member(Child);

impl Member {
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let child = Command::new(env::current_exe()?)
            .env(SETTINGS, serde_json::to_string(settings)?)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn leave(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.0.id().to_string()).status()?;
        anyhow::ensure!(self.0.wait()?.success(), "a consumer ended with an error");
        Ok(())
    }

    /// Processor seconds that it has used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&[self.0.id()])
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // SIGKILL; it may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
