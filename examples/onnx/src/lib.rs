//! What both runtimes share: the messages, and the batch as the numbers of a tensor.

use std::{error::Error, path::PathBuf};

use serde::{Deserialize, Serialize};
use service::Stream;
use stream_inference::codec::{Enriched, Json};

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
    /// Where messages come from and where results go.
    #[command(flatten)]
    pub stream: Stream,
}

/// How far two doors are open, from 0 to 1.
#[derive(Debug, Deserialize)]
pub struct Doors {
    left: f32,
    right: f32,
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
