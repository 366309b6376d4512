//! An ONNX file on a stream, computed by tract, which is Rust all through.
//!
//! ```sh
//! echo '{"left": 1, "right": 0}' | cargo run     # {"left": 1, "right": 0,"alarm":{"level":1.0}}
//! ```
//!
//! `doors.onnx` is a network of two layers that `make_onnx.rs` writes; yours comes from whatever trained
//! it. tract runs by `&self`, and so [`function`] is its adapter. `own_ort.rs` is the same with ONNX Runtime.

use std::process::ExitCode;

use clap::Parser;
use own_onnx::{Alarm, Arguments, Doors, Failure, alarms, codec, values, with_golden};
use service::config::NoSettings;
use stream_inference::predict::{ModelIdentity, PredictError, function};
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, tvec};

/// Says how alarming doors are of which one alone is open: lines of JSON, or messages of a Kafka topic
///
/// A message is {"left": 1, "right": 0}, from 0 for closed to 1 for open; its result is the same with
/// "alarm" added. What can't be answered goes to stderr or to the dead-letter topic.
#[derive(Parser)]
#[command(name = "own_onnx", after_help = EXAMPLES)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

const EXAMPLES: &str = "Examples:
  own_onnx < doors.jsonl > alarms.jsonl
  own_onnx --kafka localhost:9092 --topic doors --results-topic alarms
  DOORS_SLOT__WATCH=doors.onnx own_onnx --model doors.onnx --golden golden.json --kafka localhost:9092";

fn main() -> ExitCode {
    let Arguments { model: path, golden, stream } = Program::parse().arguments;
    let load = move |_: &NoSettings| {
        // A volume that is not there yet is waited for.
        let identity = ModelIdentity::of_file("doors", "1", &path)
            .map_err(|error| PredictError::unavailable(error.to_string()))?;
        let onnx = tract_onnx::onnx().model_for_path(&path)?.into_optimized()?.into_runnable()?;
        let model = function(identity, move |batch: &[Doors]| -> Result<Vec<Alarm>, Failure> {
            let input = Tensor::from_shape(&[batch.len(), 2], &values(batch))?;
            let outputs = onnx.run(tvec!(input.into()))?;
            alarms(&outputs[0].to_plain_array_view::<f32>()?)
        });
        Ok((model, codec()))
    };
    stream.run_slot("doors", load, |_, slot| Ok(with_golden(slot, golden.as_deref())?))
}
