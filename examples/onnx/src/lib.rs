//! What both runtimes share: the messages, and the batch as the numbers of a tensor.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use service::Stream;
use stream_inference::{
    codec::{Enriched, Json},
    predict::Predictor,
    slot::{Golden, ModelSlot},
};

/// Runtimes differ in the order of their sums.
const TOLERANCE: f64 = 1e-5;

/// What the programs are told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The model
    #[arg(
        long,
        value_name = "FILE",
        default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/doors.onnx")
    )]
    pub model: PathBuf,
    /// What a model that is to take this one's place has to answer first, as `Golden::save` writes it
    #[arg(long, value_name = "FILE")]
    pub golden: Option<PathBuf>,
    /// Where messages come from and where results go.
    #[command(flatten)]
    pub stream: Stream,
}

/// How far two doors are open, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doors {
    /// Of the left one.
    pub left: f32,
    /// Of the right one.
    pub right: f32,
}

/// How alarming that is.
#[derive(Debug, Serialize)]
pub struct Alarm {
    level: f32,
}

/// By `?` from any error: an input of the batch is at fault.
pub type Failure = Box<dyn Error + Send + Sync>;

/// `{"left": 1, "right": 0}` becomes `{"left": 1, "right": 0,"alarm":{"level":1.0}}`.
pub fn codec() -> Enriched<Doors, Alarm> {
    Json::enriching("alarm")
}

/// A slot whose next model has to answer these samples, where there are any.
///
/// # Errors
/// If the file can't be read, or the model does not answer them itself.
pub fn with_golden<P>(slot: ModelSlot<P>, golden: Option<&Path>) -> io::Result<ModelSlot<P>>
where
    P: Predictor<Input = Doors, Output = Alarm>,
{
    let Some(path) = golden else { return Ok(slot) };
    let golden = Golden::load(path)?;
    golden.check(&slot, TOLERANCE).map_err(io::Error::other)?;
    Ok(slot.with_check(move |_, next| golden.check(next, TOLERANCE)))
}

/// The inputs of a tensor `[batch, 2]` of `f32`.
pub fn values(batch: &[Doors]) -> Vec<f32> {
    batch.iter().flat_map(|doors| [doors.left, doors.right]).collect()
}

/// The answers of a tensor `[batch, 1]` of `f32`.
///
/// # Errors
/// If one is not finite: JSON has no NaN, it would go out as `null`.
pub fn alarms<'a>(levels: impl IntoIterator<Item = &'a f32>) -> Result<Vec<Alarm>, Failure> {
    let alarm = |&level: &f32| match level.is_finite() {
        true => Ok(Alarm { level }),
        false => Err(format!("the model answers {level}").into()),
    };
    levels.into_iter().map(alarm).collect()
}
