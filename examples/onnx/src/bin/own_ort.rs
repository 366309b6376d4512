//! An ONNX file on a stream, computed by ONNX Runtime, whose library `ORT_DYLIB_PATH` names.
//!
//! ```sh
//! pip install --target ort onnxruntime==1.32.0
//! export ORT_DYLIB_PATH=$PWD/ort/onnxruntime/capi/libonnxruntime.so.1.32.0
//! echo '{"left": 1, "right": 0}' | cargo run --features ort --bin own_ort
//! ```
//!
//! A session runs by `&mut self`, and so [`exclusive`] is its adapter.

use std::process::ExitCode;

use clap::Parser;
use ort::{inputs, session::Session, value::Tensor};
use own_onnx::{Alarm, Arguments, Doors, Failure, alarms, codec, values, with_golden};
use service::config::NoSettings;
use stream_inference::predict::{ModelIdentity, PredictError, exclusive};

/// As own_onnx, with ONNX Runtime
#[derive(Parser)]
#[command(name = "own_ort", after_help = EXAMPLES)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

const EXAMPLES: &str = "Examples:
  own_ort < doors.jsonl > alarms.jsonl
  own_ort --kafka localhost:9092 --topic doors --results-topic alarms";

fn main() -> ExitCode {
    let Arguments { model: path, golden, stream } = Program::parse().arguments;
    let load = move |_: &NoSettings| {
        // A volume that is not there yet is waited for.
        let identity = ModelIdentity::of_file("doors", "1", &path)
            .map_err(|error| PredictError::unavailable(error.to_string()))?;
        let runtime = ort::init().build()?;
        let mut session = Session::builder(&runtime)?.commit_from_file(&path)?;
        let model = exclusive(identity, move |batch: &[Doors]| -> Result<Vec<Alarm>, Failure> {
            let input = Tensor::from_array(([batch.len(), 2], values(batch)))?;
            let outputs = session.run(inputs![input])?;
            alarms(outputs[0].try_extract_tensor::<f32>()?.1)
        });
        Ok((model, codec()))
    };
    stream.run_slot("doors", load, |_, slot| Ok(with_golden(slot, golden.as_deref())?))
}
