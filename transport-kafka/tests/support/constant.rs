use std::time::Duration;

use serde::Deserialize;
use stream_inference::{
    codec::Json,
    predict::{ModelIdentity, PredictError, Predictor, function},
};

/// A model that answers the same after a fixed time a batch.
pub(crate) fn constant<I, O>(delay: Duration, answer: O) -> impl Predictor<Input = I, Output = O>
where
    I: Send + Sync + 'static,
    O: Clone + Send + Sync + 'static,
{
    function(ModelIdentity::of_code("constant", "1.0"), move |batch: &[I]| {
        std::thread::sleep(delay);
        Ok::<_, PredictError>(vec![answer.clone(); batch.len()])
    })
}

/// What is asked for; there is nothing from 1 on.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Bounds")]
pub(crate) struct Range;

#[derive(Deserialize)]
struct Bounds {
    start_idx: usize,
    end_idx: usize,
}

impl TryFrom<Bounds> for Range {
    type Error = String;

    fn try_from(Bounds { start_idx, end_idx }: Bounds) -> Result<Self, String> {
        match (start_idx, end_idx) {
            (0, 1) => Ok(Self),
            _ => Err(format!("expected 0 to 1, found {start_idx} to {end_idx}")),
        }
    }
}

pub(crate) const fn ranges() -> Json<Range, u8> {
    Json::new()
}
