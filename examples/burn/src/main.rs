//! A Burn model on a stream, served through the batcher that it was trained with.
//!
//! ```sh
//! echo '{"temperature": 60, "vibration": 6}' | cargo run --release
//! ```
//!
//! It is trained at the start, on readings of bearings that the program makes; yours is loaded. The adapter
//! [`Burn`] is what to copy.

mod training;

use std::{process::ExitCode, sync::Arc};

use burn::{
    data::dataloader::batcher::Batcher,
    module::Module,
    tensor::{Device, Tensor, activation::softmax},
};
use clap::Parser;
use serde::Serialize;
use service::{Stream, config::NoSettings};
use stream_inference::{
    codec::Json,
    drift::{Baseline, Drift, Measures},
    predict::{ModelIdentity, PredictError, Predictor},
    slot::ModelSlot,
};
use training::{Network, Reading, Scaled, readings, train};

const SEED: u64 = 7;

/// Tells worn bearings from sound ones, by lines of JSON or messages of a Kafka topic
///
/// A reading is {"temperature": 60, "vibration": 6}, in °C and mm/s; its result is the same with "bearing"
/// added. What can't be answered goes to stderr or to the dead-letter topic.
#[derive(Parser)]
#[command(name = "own_burn", after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    stream: Stream,
}

const EXAMPLES: &str = "Examples:
  own_burn < readings.jsonl > judged.jsonl
  own_burn --kafka localhost:9092 --topic readings --results-topic judged";

#[derive(Serialize)]
struct Bearing {
    state: &'static str,
    /// Of that state, from 0.5 to 1.
    probability: f32,
}

/// A Burn module with the batcher that it was trained with, so that serving can't prepare inputs
/// otherwise.
struct Burn<M, B> {
    module: M,
    batcher: B,
    device: Device,
    identity: Arc<ModelIdentity>,
}

impl<B: Batcher<Reading, Tensor<2>> + 'static> Predictor for Burn<Network, B> {
    type Input = Reading;
    type Output = Bearing;

    fn predict(&self, batch: &[Reading]) -> Result<Vec<Bearing>, PredictError> {
        let readings = self.batcher.batch(batch.to_vec(), &self.device);
        let probabilities = softmax(self.module.forward(readings), 1).into_data(); // [batch, 2]
        let worn = probabilities.iter::<f32>().skip(1).step_by(2);
        Ok(worn.map(Bearing::of).collect())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }

    /// A sensor that is broken far beyond all that was learned would give no number.
    fn verify(&self, bearing: &Bearing) -> Result<(), String> {
        let found = bearing.probability;
        if found.is_finite() { Ok(()) } else { Err(format!("the network answers {found}")) }
    }
}

impl Bearing {
    fn of(worn: f32) -> Self {
        match worn > 0.5 {
            true => Self { state: "worn", probability: worn },
            false => Self { state: "sound", probability: 1.0 - worn },
        }
    }
}

fn main() -> ExitCode {
    let Arguments { stream } = Arguments::parse();
    let load = |_: &NoSettings| {
        let (network, batcher): (Network, Scaled) = train(SEED)?;
        let model = Burn {
            // Without autodiff, which serving has no use for.
            module: network.valid(),
            batcher,
            device: Device::flex(),
            // A model that is loaded has `of_file`, of the weights.
            identity: Arc::new(ModelIdentity::of_code("bearings", &format!("seed {SEED}"))),
        };
        Ok((model, Json::<Reading, Bearing>::enriching("bearing")))
    };
    stream.run_slot("bearings", load, |_, slot| Ok(with_drift(slot)?))
}

/// Sees when readings or answers are no longer those of the training data.
fn with_drift<P>(slot: ModelSlot<P>) -> Result<ModelSlot<P>, PredictError>
where
    P: Predictor<Input = Reading, Output = Bearing>,
{
    let measures = || {
        Measures::new()
            .number("temperature", |reading: &Reading, _: &Bearing| reading.temperature.into())
            .number("vibration", |reading: &Reading, _: &Bearing| reading.vibration.into())
            .class("state", |_: &Reading, bearing: &Bearing| bearing.state.to_owned())
    };
    let (usual, _): (Vec<Reading>, Vec<i32>) = readings(SEED).into_iter().unzip();
    let baseline = Baseline::of(&measures(), &usual, &slot.predict(&usual)?);
    Ok(slot.with_drift(Drift::new(measures(), move |_| Some(baseline.clone()))))
}
